import Foundation

/// What went wrong, as a sentence that can be shown.
public struct FastcapError: LocalizedError {
    public let errorDescription: String?

    public init(_ message: String) {
        errorDescription = message
    }
}

/// The tokens of a `tokenizer.json`: byte-level BPE, as fastcap's own tokenizers and those of its language models are.
///
/// Throws FastcapError for a tokenizer of another kind.
public final class Tokenizer {
    private var ids: [String: Int] = [:]
    private var tokens: [Int: String] = [:]
    private var special: Set<Int> = []
    private var ranks: [String: Int] = [:] // of merges, "a b"; the lowest comes first
    private var normalize: [(String) -> String] = []
    private var splits: [(String) -> [String]] = []
    private var byteOf: [Unicode.Scalar: UInt8] = [:]
    private var letterOf: [String] = []

    public init(_ file: Data) throws {
        guard let content = try JSONSerialization.jsonObject(with: file) as? [String: Any],
            let model = content["model"] as? [String: Any],
            let vocabulary = model["vocab"] as? [String: Int],
            let merges = model["merges"] as? [Any],
            let added = content["added_tokens"] as? [[String: Any]]
        else { throw FastcapError("tokenizer.json is no tokenizer") }
        let decoder = (content["decoder"] as? [String: Any])?["type"] as? String
        guard model["type"] as? String == "BPE", decoder == "ByteLevel" else {
            throw FastcapError("the tokenizer is not a byte-level BPE")
        }
        ids = vocabulary
        for (token, id) in vocabulary { tokens[id] = token }
        for token in added {
            guard let id = token["id"] as? Int, let text = token["content"] as? String else { continue }
            tokens[id] = text
            if token["special"] as? Bool == true { special.insert(id) }
        }
        for (rank, merge) in merges.enumerated() { // "a b" in older files, ["a", "b"] in newer ones
            let pair = (merge as? String) ?? (merge as? [String])?.joined(separator: " ") ?? ""
            ranks[pair] = rank
        }
        normalize = try steps(content["normalizer"], "normalizers").map(normalizer)
        splits = try steps(content["pre_tokenizer"], "pretokenizers").map(splitter)
        // GPT-2's way to write bytes as visible letters: those that are none get the code points from 256 upwards.
        var unused: UInt32 = 256
        for byte in UInt8.min...UInt8.max {
            let visible = (33...126).contains(byte) || (byte >= 161 && byte != 173)
            let code = visible ? UInt32(byte) : unused
            if !visible { unused += 1 }
            let letter = Unicode.Scalar(code)! // all of them are below 0xd800
            byteOf[letter] = byte
            letterOf.append(String(Character(letter)))
        }
    }

    /// The text of token ids, marks left out.
    public func decode(_ tokenIds: [Int]) throws -> String {
        var bytes: [UInt8] = []
        for id in tokenIds where !special.contains(id) {
            guard let token = tokens[id] else { throw FastcapError("no token has the id \(id)") }
            for letter in token.unicodeScalars {
                guard let byte = byteOf[letter] else { throw FastcapError("token \(id) is no text") }
                bytes.append(byte)
            }
        }
        let text = String(decoding: bytes, as: UTF8.self)
        return text.hasPrefix(" ") ? String(text.dropFirst()) : text
    }

    /// The token ids of a text; marks that it spells are text.
    public func encode(_ text: String) throws -> [Int] {
        let normal = normalize.reduce(text) { before, step in step(before) }
        let pieces = splits.reduce([normal]) { before, split in before.flatMap(split) }
        return try pieces.flatMap { piece in try merged(piece.utf8.map { letterOf[Int($0)] }) }
    }

    /// Joins neighbours in the order of the merges until none is left to join.
    private func merged(_ letters: [String]) throws -> [Int] {
        var parts = letters
        while parts.count > 1 {
            var best = 0
            for at in 1..<(parts.count - 1) where rank(parts, at) < rank(parts, best) { best = at }
            if rank(parts, best) == Int.max { break }
            let next = parts.remove(at: best + 1)
            parts[best] += next
        }
        return try parts.map { part in
            guard let id = ids[part] else { throw FastcapError("the tokenizer cannot spell \"\(part)\"") }
            return id
        }
    }

    private func rank(_ parts: [String], _ at: Int) -> Int {
        ranks[parts[at] + " " + parts[at + 1]] ?? Int.max
    }
}

/// The steps of a part of `tokenizer.json`, of which there is none, one or a sequence.
private func steps(_ part: Any?, _ name: String) -> [[String: Any]] {
    guard let step = part as? [String: Any] else { return [] }
    return step["type"] as? String == "Sequence" ? step[name] as? [[String: Any]] ?? [] : [step]
}

private func normalizer(_ step: [String: Any]) throws -> (String) -> String {
    switch step["type"] as? String {
    case "NFC":
        return { $0.precomposedStringWithCanonicalMapping }
    case "Lowercase":
        return { $0.lowercased() }
    case "Prepend":
        let prefix = step["prepend"] as? String ?? ""
        return { $0.isEmpty ? $0 : prefix + $0 }
    default:
        throw FastcapError("the tokenizer's normalizer is none of NFC, Lowercase and Prepend")
    }
}

private func splitter(_ step: [String: Any]) throws -> (String) -> [String] {
    switch step["type"] as? String {
    case "ByteLevel":
        let spaced = step["add_prefix_space"] as? Bool == true
        let words = "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"
        return { text in pieces(words, spaced && !text.hasPrefix(" ") ? " " + text : text) }
    case "Digits":
        let single = step["individual_digits"] as? Bool == true
        return { text in pieces(single ? "\\p{N}|\\P{N}+" : "\\p{N}+|\\P{N}+", text) }
    default:
        throw FastcapError("the tokenizer's pre-tokenizer is neither ByteLevel nor Digits")
    }
}

/// What a pattern finds in a text, in order.
private func pieces(_ pattern: String, _ text: String) -> [String] {
    var found: [String] = []
    var start = text.startIndex
    while let range = text.range(of: pattern, options: .regularExpression, range: start..<text.endIndex),
        !range.isEmpty
    {
        found.append(String(text[range]))
        start = range.upperBound
    }
    return found
}

/// Single spaces between words, none before punctuation.
private func spaced(_ text: String) -> String {
    text.trimmingCharacters(in: .whitespacesAndNewlines)
        .replacingOccurrences(of: "\\s+", with: " ", options: .regularExpression)
        .replacingOccurrences(of: " ([,.;:!?])", with: "$1", options: .regularExpression)
}

/// A question as models read it: small letters, straight quotes, single spaces, no full stop at its end.
///
/// The part of `clean_question` of the Python package that typed questions need.
public func cleanQuestion(_ text: String) -> String {
    let straight = text.replacingOccurrences(of: "[\u{2018}\u{2019}]", with: "'", options: .regularExpression)
        .replacingOccurrences(of: "[\u{201c}\u{201d}]", with: "\"", options: .regularExpression)
    return spaced(straight.precomposedStringWithCanonicalMapping.lowercased())
        .replacingOccurrences(of: "[ .]+$", with: "", options: .regularExpression)
}

/// A caption as a sentence: immediate repeats of one to three words left out ("a hat a hat"), a capital, a full stop.
///
/// Of `sentence` of the Python package the part that what fastcap's models write needs.
public func sentence(_ text: String) -> String {
    let punctuation = CharacterSet(charactersIn: ",.;:")
    var words: [String] = []
    for word in spaced(text).components(separatedBy: " ") {
        words.append(word)
        for n in 1...3 where words.count >= 2 * n {
            let keys = words.suffix(2 * n).map { $0.lowercased().trimmingCharacters(in: punctuation) }
            if keys.prefix(n).elementsEqual(keys.suffix(n)) {
                // The later copy stays, with what ends it.
                words.removeSubrange((words.count - 2 * n)..<(words.count - n))
                break
            }
        }
    }
    let joined = words.joined(separator: " ")
        .replacingOccurrences(of: "[ ,;:.-]+$", with: "", options: .regularExpression)
    guard let first = joined.firstIndex(where: { $0.isLetter || $0.isNumber }) else { return "" }
    let rest = joined[joined.index(after: first)...]
    let shown = String(joined[..<first]) + joined[first].uppercased() + String(rest)
    return shown.hasSuffix("!") || shown.hasSuffix("?") ? shown : shown + "."
}
