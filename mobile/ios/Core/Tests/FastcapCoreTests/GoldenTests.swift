import FastcapCore
import Foundation
import XCTest

#if canImport(CryptoKit) && canImport(ImageIO)
    import CryptoKit
    import ImageIO

    /// Compares the app with what the Python runtime says, as `mobile/golden` states it. Needs no phone and no ONNX
    /// Runtime: the graphs' outputs are recorded. Run by `swift test` on a Mac, in a clone.
    final class GoldenTests: XCTestCase {
        private let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
            .appendingPathComponent("../../../../..").standardizedFileURL
        private var golden: [String: Any] = [:]
        private var model: URL { root.appendingPathComponent("src/fastcap/bundled/fastcap-base") }

        override func setUpWithError() throws {
            let file = try Data(contentsOf: root.appendingPathComponent("mobile/golden/golden.json"))
            golden = try XCTUnwrap(try JSONSerialization.jsonObject(with: file) as? [String: Any])
        }

        private func rows(_ name: String, of table: [String: Any]) throws -> [[String: Any]] {
            try XCTUnwrap(table[name] as? [[String: Any]])
        }

        /// A PNG or JPEG of `mobile/golden` as it lies in its file, on white.
        private func picture(_ name: String) throws -> Picture {
            let file = root.appendingPathComponent("mobile/golden").appendingPathComponent(name)
            let source = try XCTUnwrap(CGImageSourceCreateWithURL(file as CFURL, nil))
            let image = try XCTUnwrap(CGImageSourceCreateImageAtIndex(source, 0, nil))
            let (width, height) = (image.width, image.height)
            var rgbx = [UInt8](repeating: 255, count: 4 * width * height)
            rgbx.withUnsafeMutableBytes { bytes in
                let context = CGContext(
                    data: bytes.baseAddress, width: width, height: height, bitsPerComponent: 8, bytesPerRow: 4 * width,
                    space: CGColorSpace(name: CGColorSpace.sRGB)!, bitmapInfo: CGImageAlphaInfo.noneSkipLast.rawValue)
                context?.draw(image, in: CGRect(x: 0, y: 0, width: width, height: height))
            }
            return Picture(width: width, height: height, rgbx: rgbx)
        }

        func testPixelsAndCaptionsAreThoseOfPython() throws {
            let recorded = Recorded()
            let captioner = try Captioner(model) { _ in recorded }
            let (width, height) = (captioner.modelWidth, captioner.modelHeight)
            for row in try rows("pictures", of: golden) {
                let name = try XCTUnwrap(row["file"] as? String)
                let orientation = try XCTUnwrap(row["orientation"] as? Int)
                let tolerance = try XCTUnwrap(row["tolerance"] as? Double)
                let image = try picture(name)
                let shrink = name.hasSuffix(".jpg")
                    ? jpegShrink(
                        width: image.width, height: image.height, modelWidth: width, modelHeight: height,
                        orientation: orientation) : 1
                let pixels = squash(image, width: width, height: height, orientation: orientation, shrink: shrink)
                if tolerance == 0 {
                    let sha256 = SHA256.hash(data: Data(pixels)).map { String(format: "%02x", $0) }.joined()
                    XCTAssertEqual(sha256, row["sha256"] as? String, name)
                } else {
                    let stem = name.prefix { $0 != "." }
                    let expected = squash(try picture(stem + ".expected.png"), width: width, height: height)
                    let sum = zip(pixels, expected).reduce(0) { $0 + abs(Int($1.0) - Int($1.1)) }
                    XCTAssertLessThanOrEqual(Double(sum) / Double(pixels.count), tolerance, name)
                }
                let captions = try XCTUnwrap(row["captions"] as? [String: [String: Any]])
                for length in captioner.lengths {
                    let asked = try XCTUnwrap(captions[length])
                    recorded.outputs = asked
                    let said = try captioner.caption(pixels, length: length)
                    XCTAssertEqual(said.text, asked["caption"] as? String, "\(name), \(length)")
                    XCTAssertEqual(said.confidence, try XCTUnwrap(asked["confidence"] as? Double), accuracy: 1e-4)
                    XCTAssertEqual(recorded.range, try XCTUnwrap(asked["length_range"] as? [Int]))
                }
            }
        }

        func testTextsAreThoseOfPython() throws {
            let file = try Data(contentsOf: model.appendingPathComponent("tokenizer.json"))
            let tokenizer = try Tokenizer(file)
            for row in try rows("questions", of: golden) {
                let cleaned = cleanQuestion(try XCTUnwrap(row["question"] as? String))
                XCTAssertEqual(cleaned, row["cleaned"] as? String)
                let ids = try tokenizer.encode(cleaned)
                XCTAssertEqual(ids, try XCTUnwrap(row["token_ids"] as? [Int]))
                XCTAssertEqual(try tokenizer.decode(ids), cleaned)
            }
            for row in try rows("sentences", of: golden) {
                XCTAssertEqual(sentence(try XCTUnwrap(row["text"] as? String)), row["sentence"] as? String)
            }
        }

        /// Asks a model whose language model is a table.
        func testAnswersAreThoseOfPython() throws {
            let table = try XCTUnwrap(golden["table"] as? [String: Any])
            let manifest = try XCTUnwrap(table["manifest"] as? [String: Any])
            let size = try XCTUnwrap((manifest["vocabulary"] as? [String: Any])?["size"] as? Int)
            let folder = FileManager.default.temporaryDirectory.appendingPathComponent(UUID().uuidString)
            try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
            defer { try? FileManager.default.removeItem(at: folder) }
            let written = try JSONSerialization.data(withJSONObject: manifest)
            try written.write(to: folder.appendingPathComponent("model.json"))
            try FileManager.default.copyItem(
                at: model.appendingPathComponent("tokenizer.json"), to: folder.appendingPathComponent("tokenizer.json"))
            let recorded = Recorded()
            let captioner = try Captioner(folder) { _ in recorded }
            for row in try rows("asked", of: table) {
                let steps = try XCTUnwrap(row["log_p"] as? [[String: Double]])
                recorded.read = []
                recorded.logP = steps.map { step in (0..<size).map { Float(step[String($0)] ?? -30) } }
                let said = try captioner.ask([], try XCTUnwrap(row["question"] as? String))
                XCTAssertEqual(recorded.read, try XCTUnwrap(row["reads"] as? [[Int]]))
                XCTAssertEqual(said.text, row["answer"] as? String)
                XCTAssertEqual(said.confidence, try XCTUnwrap(row["confidence"] as? Double), accuracy: 1e-4)
            }
        }
    }

    /// All graphs of a model: gives what was recorded, and keeps what it was fed.
    private final class Recorded: Graph {
        var outputs: [String: Any] = [:]
        var logP: [[Float]] = []
        var read: [[Int]] = []
        var range: [Int] = []
        let inputs = ["images"]

        func run(_ feeds: [String: Tensor]) throws -> [String: Tensor] {
            let some = Tensor([4, 2, 3, 5], .float([Float](repeating: 0, count: 120))) // as keys and values have it
            if feeds["length_range"] != nil { return try parallel(feeds) }
            if feeds["images"] != nil { return ["image_tokens": some] }
            if feeds["image_tokens"] != nil { return ["prefix": some] }
            if feeds["prefix"] != nil { return ["state0": some] }
            let tokens = whole(feeds["token_ids"])
            let cache = try XCTUnwrap(feeds["cache"]?.shape)
            let before = read.map { $0.count }.reduce(0, +) + 1 // and the padding
            XCTAssertEqual(cache, [4, 2, 1, before, 5])
            XCTAssertEqual(whole(feeds["padding"]), [1])
            read.append(tokens)
            return [
                "log_p": Tensor([1, logP[read.count - 1].count], .float(logP[read.count - 1])),
                "new_cache": Tensor([4, 2, 1, before + tokens.count, 5], .float([])),
            ]
        }

        private func parallel(_ feeds: [String: Tensor]) throws -> [String: Tensor] {
            range = whole(feeds["length_range"])
            let ids = try XCTUnwrap(outputs["token_ids"] as? [[Int]])
            let lengths = try XCTUnwrap(outputs["lengths"] as? [Int])
            let confidences = try XCTUnwrap(outputs["confidences"] as? [Double])
            return [
                "token_ids": Tensor([1, ids.count, ids[0].count], .int64(ids.flatMap { $0 }.map { Int64($0) })),
                "lengths": Tensor([1, lengths.count], .int64(lengths.map { Int64($0) })),
                "confidences": Tensor([1, confidences.count], .float(confidences.map { Float($0) })),
            ]
        }

        private func whole(_ tensor: Tensor?) -> [Int] {
            guard case .int64(let values)? = tensor?.numbers else { return [] }
            return values.map { Int($0) }
        }
    }
#endif
