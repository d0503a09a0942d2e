import Foundation

#if canImport(CryptoKit)
    import CryptoKit
#endif

/// Numbers of a tensor.
public enum Numbers {
    case uint8([UInt8])
    case int64([Int64])
    case float([Float])
}

/// Numbers of a shape.
public struct Tensor {
    public let shape: [Int]
    public let numbers: Numbers

    public init(_ shape: [Int], _ numbers: Numbers) {
        self.shape = shape
        self.numbers = numbers
    }
}

/// A network that is ready to run. The app's `OnnxGraph` is one; another runtime takes its place by being another.
public protocol Graph {
    var inputs: [String] { get }

    /// All outputs by name.
    func run(_ feeds: [String: Tensor]) throws -> [String: Tensor]
}

/// What is shown: a caption or an answer, its confidence from 0 to 1, and the tokens it was made of.
public struct Said: Sendable {
    public let text: String
    public let confidence: Double
    public let tokenIds: [Int]
}

/// `model.json` as far as an app reads it; names are those of the file.
struct Manifest: Decodable {
    struct Size: Decodable {
        let width: Int
        let height: Int
    }
    struct Vocabulary: Decodable {
        let size: Int
        let pad_id: Int
        let bos_id: Int
        let eos_id: Int
        let mask_id: Int?
        let unk_id: Int?
    }
    struct Decoding: Decodable {
        let max_length: Int
        let default_candidates: Int
        let lengths: [String: [Int]]
    }
    /// A probability as the share of such captions or answers that are right: a logistic curve.
    struct Curve: Decodable {
        let scale: Double
        let offset: Double

        func confidence(_ probability: Double) -> Double {
            let p = min(max(probability, 1e-6), 1 - 1e-6)
            let x = scale * log(p / (1 - p)) + offset
            return 1 / (1 + exp(-min(max(x, -30), 30)))
        }
    }
    struct Questions: Decodable {
        let template: String
        let tokens: Int
        let scale: Double
        let offset: Double
    }
    struct Exits: Decodable {
        let thresholds: [Double]
    }
    struct File: Decodable {
        let sha256: String
    }

    let format: Int
    let kind: String
    let name: String
    let preprocessing: Size
    let vocabulary: Vocabulary
    let decoding: Decoding
    let calibration: Curve
    let questions: Questions?
    let exits: Exits?
    let files: [String: File]

    /// Reads it once every file that it lists is as it says: one copied from another model would go unnoticed.
    static func read(_ folder: URL) throws -> Manifest {
        let data = try Data(contentsOf: folder.appendingPathComponent("model.json"))
        let manifest = try JSONDecoder().decode(Manifest.self, from: data)
        guard manifest.format == 2, ["parallel", "prefix"].contains(manifest.kind) else {
            throw FastcapError("format \(manifest.format), kind \(manifest.kind); allowed: 2, parallel or prefix")
        }
        #if canImport(CryptoKit)
            for (name, stated) in manifest.files {
                let bytes = try Data(contentsOf: folder.appendingPathComponent(name), options: .mappedIfSafe)
                let sha256 = SHA256.hash(data: bytes).map { String(format: "%02x", $0) }.joined()
                if sha256 != stated.sha256 { throw FastcapError("\(name) is not as model.json says") }
            }
        #endif
        return manifest
    }
}

/// A model directory: pictures in, captions and answers out.
///
/// `folder` holds `model.json` and the files that it lists; `openGraph` makes a graph of one. Two kinds of model:
/// "parallel", one graph from pixels to captions; "prefix", a language model that reads the picture first, which is
/// decoded greedily. A picture is `modelWidth` x `modelHeight` pixels, as `squash` gives them.
///
/// Throws FastcapError for a directory that is damaged or of another kind. Use it from one thread at a time.
public final class Captioner {
    public let name: String
    public let modelWidth: Int
    public let modelHeight: Int

    /// Names of lengths for `caption`.
    public let lengths = ["short", "normal", "long"]

    /// Whether `ask` answers.
    public var answers: Bool { manifest.kind == "prefix" && manifest.questions != nil }

    private let folder: URL
    private let openGraph: (URL) throws -> Graph
    private let manifest: Manifest
    private let tokenizer: Tokenizer
    private var graphs: [String: Graph] = [:]
    private var encoded: (pixels: [UInt8], state: [String: Tensor])? // the last: one picture is asked many questions

    public init(_ folder: URL, openGraph: @escaping (URL) throws -> Graph) throws {
        self.folder = folder
        self.openGraph = openGraph
        let manifest = try Manifest.read(folder)
        self.manifest = manifest
        name = manifest.name
        modelWidth = manifest.preprocessing.width
        modelHeight = manifest.preprocessing.height
        tokenizer = try Tokenizer(try Data(contentsOf: folder.appendingPathComponent("tokenizer.json")))
    }

    /// The model's caption of a picture.
    public func caption(_ pixels: [UInt8], length: String = "normal") throws -> Said {
        guard let range = manifest.decoding.lengths[length], range.count == 2 else {
            throw FastcapError("length is \(length); allowed: short, normal, long")
        }
        if manifest.kind == "parallel" { return try parallel(pixels, range[0], range[1]) }
        let found = try greedy(pixels, [manifest.vocabulary.bos_id], range[0], range[1])
        let probability = exp(found.logP.reduce(0, +) / Double(found.logP.count))
        return try said(sentence(tokenizer.decode(found.ids)), manifest.calibration.confidence(probability), found.ids)
    }

    /// The answer to a question about a picture. Throws FastcapError for one that holds no words or is too long.
    public func ask(_ pixels: [UInt8], _ question: String) throws -> Said {
        guard answers, let limits = manifest.questions else {
            throw FastcapError("model \(name) writes captions and answers no questions")
        }
        let asked = cleanQuestion(question)
        guard asked.contains(where: { $0.isLetter || $0.isNumber }) else { throw FastcapError("the question holds no words") }
        let ids = try tokenizer.encode(limits.template.replacingOccurrences(of: "{question}", with: asked))
        guard ids.count <= limits.tokens else {
            throw FastcapError("the question is too long: at most \(limits.tokens) tokens")
        }
        let found = try greedy(pixels, [manifest.vocabulary.bos_id] + ids, 1, manifest.decoding.max_length)
        let curve = Manifest.Curve(scale: limits.scale, offset: limits.offset)
        let probability = exp(found.logP.reduce(0, +))
        return try said(tokenizer.decode(found.ids), curve.confidence(probability), found.ids)
    }

    private func said(_ text: String, _ confidence: Double, _ ids: [Int]) -> Said {
        Said(text: text, confidence: confidence, tokenIds: ids)
    }

    /// The likeliest caption of `low` to `high` tokens, which the one graph of a parallel model gives.
    private func parallel(_ pixels: [UInt8], _ low: Int, _ high: Int) throws -> Said {
        let candidates = min(manifest.decoding.default_candidates, high - low + 1)
        let size = manifest.vocabulary.size
        let outputs = try graph("model.onnx").run([
            "images": picture(pixels),
            "length_range": Tensor([2], .int64([Int64(low), Int64(high)])),
            "candidates": Tensor([1], .int64([Int64(candidates)])),
            "penalties": Tensor([size], .float([Float](repeating: 0, count: size))),
        ])
        let length = Int(try longs(outputs, "lengths")[0]) // the first candidate is the best
        let ids = try longs(outputs, "token_ids").prefix(length).map { Int($0) }
        let probability = Double(try floats(outputs, "confidences")[0])
        return try said(sentence(tokenizer.decode(ids)), manifest.calibration.confidence(probability), ids)
    }

    /// `low` to `high` tokens that follow a prompt, each the likeliest, with their logarithms and the end mark's.
    private func greedy(
        _ pixels: [UInt8], _ prompt: [Int], _ low: Int, _ high: Int
    ) throws -> (ids: [Int], logP: [Double]) {
        let state = try encode(pixels)
        guard let shape = state["state0"]?.shape, shape.count == 4 else { throw FastcapError("state0 is missing") }
        let (layers, heads, width) = (shape[0], shape[1], shape[3])
        // Nothing was read yet: one column, which is padding, since some bindings refuse tensors without elements.
        let nothing = [Float](repeating: 0, count: layers * heads * width)
        var cache = Tensor([layers, heads, 1, 1, width], .float(nothing))
        let vocabulary = manifest.vocabulary
        let end = vocabulary.eos_id
        let marks = [vocabulary.pad_id, vocabulary.bos_id, vocabulary.mask_id, vocabulary.unk_id].compactMap { $0 }
        let barred = Set(marks).subtracting([end])
        var read = prompt
        var ids: [Int] = []
        var logs: [Double] = []
        while true {
            var feeds = state
            feeds["token_ids"] = Tensor([1, read.count], .int64(read.map { Int64($0) }))
            feeds["parents"] = Tensor([1], .int64([0]))
            feeds["padding"] = Tensor([1], .int64([1]))
            feeds["cache"] = cache
            let outputs = try graph("language_model.onnx").run(feeds)
            let logP = try floats(outputs, "log_p")
            guard let grown = outputs["new_cache"] else { throw FastcapError("new_cache is missing") }
            cache = grown
            var best = end
            if ids.count < high {
                // The last token never comes twice in a row.
                let allowed = logP.indices.filter {
                    !barred.contains($0) && $0 != ids.last && ($0 != end || ids.count >= low)
                }
                best = allowed[0]
                for id in allowed where logP[id] > logP[best] { best = id }
            }
            logs.append(Double(logP[best]))
            if best == end { return (ids, logs) }
            ids.append(best)
            read = [best]
        }
    }

    /// What the language model reads of a picture.
    private func encode(_ pixels: [UInt8]) throws -> [String: Tensor] {
        if let last = encoded, last.pixels == pixels { return last.state }
        let seen = try look(pixels)
        let projected = try graph("projection.onnx").run(only(["image_tokens"], of: seen))
        let state = try graph("prefix_init.onnx").run(only(["prefix"], of: projected))
        encoded = (pixels, state)
        return state
    }

    /// The vision part: one graph, or one for each scale, of which later ones run only if those before are not sure.
    private func look(_ pixels: [UInt8]) throws -> [String: Tensor] {
        let thresholds = manifest.exits?.thresholds ?? []
        var known = ["images": picture(pixels)]
        for scale in 0...thresholds.count {
            let part = try graph(scale == 0 ? "vision_encoder.onnx" : "scale\(scale).onnx")
            let outputs = try part.run(only(part.inputs, of: known))
            if scale == thresholds.count { return outputs }
            if Double(try floats(outputs, "sure")[0]) >= thresholds[scale] { return outputs }
            known["tokens_before"] = outputs["image_tokens"]
            known["map_before"] = outputs["carry"]
        }
        throw FastcapError("no scale is the last")
    }

    private func only(_ names: [String], of tensors: [String: Tensor]) -> [String: Tensor] {
        tensors.filter { names.contains($0.key) }
    }

    private func picture(_ pixels: [UInt8]) -> Tensor {
        Tensor([1, modelHeight, modelWidth, 3], .uint8(pixels))
    }

    private func graph(_ name: String) throws -> Graph {
        if let opened = graphs[name] { return opened }
        let opened = try openGraph(folder.appendingPathComponent(name))
        graphs[name] = opened
        return opened
    }
}

private func longs(_ outputs: [String: Tensor], _ name: String) throws -> [Int64] {
    guard case .int64(let values)? = outputs[name]?.numbers, !values.isEmpty else {
        throw FastcapError("\(name) is missing")
    }
    return values
}

private func floats(_ outputs: [String: Tensor], _ name: String) throws -> [Float] {
    guard case .float(let values)? = outputs[name]?.numbers, !values.isEmpty else {
        throw FastcapError("\(name) is missing")
    }
    return values
}
