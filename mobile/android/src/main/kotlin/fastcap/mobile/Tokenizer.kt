package fastcap.mobile

import java.io.ByteArrayOutputStream
import java.text.Normalizer
import org.json.JSONArray
import org.json.JSONObject

/**
 * The tokens of a `tokenizer.json`: byte-level BPE, as fastcap's own tokenizers and those of its language models are.
 *
 * Throws IllegalArgumentException for a tokenizer of another kind.
 */
class Tokenizer(content: JSONObject) {
    private val ids = HashMap<String, Int>()
    private val tokens = HashMap<Int, String>()
    private val special = HashSet<Int>()
    private val ranks = HashMap<Pair<String, String>, Int>() // of merges: the lowest comes first
    private val steps = steps(content.optJSONObject("normalizer"), "normalizers").map(::normalizer)
    private val splits = ArrayList<(String) -> List<String>>()
    private val byteOf = HashMap<Int, Int>()
    private val letterOf = Array(256) { "" }

    init {
        val model = content.getJSONObject("model")
        require(model.getString("type") == "BPE") { "the tokenizer is ${model["type"]}; allowed: BPE" }
        val decoder = content.getJSONObject("decoder").getString("type")
        require(decoder == "ByteLevel") { "the tokenizer's decoder is $decoder; allowed: ByteLevel" }
        val vocabulary = model.getJSONObject("vocab")
        for (token in vocabulary.keys()) ids[token] = vocabulary.getInt(token)
        for ((token, id) in ids) tokens[id] = token
        val added = content.getJSONArray("added_tokens")
        for (index in 0 until added.length()) {
            val token = added.getJSONObject(index)
            tokens[token.getInt("id")] = token.getString("content")
            if (token.getBoolean("special")) special.add(token.getInt("id"))
        }
        val merges = model.getJSONArray("merges")
        for (rank in 0 until merges.length()) {
            val merge = merges[rank] // "a b" in older files, ["a", "b"] in newer ones
            val pair = if (merge is JSONArray) Pair(merge.getString(0), merge.getString(1)) else twoOf(merge.toString())
            ranks[pair] = rank
        }
        steps(content.optJSONObject("pre_tokenizer"), "pretokenizers").mapTo(splits, ::split)
        // GPT-2's way to write bytes as visible letters: those that are none get the code points from 256 upwards.
        var unused = 256
        for (byte in 0..255) {
            val visible = byte in 33..126 || (byte in 161..255 && byte != 173)
            val letter = if (visible) byte else unused++
            byteOf[letter] = byte
            letterOf[byte] = String(Character.toChars(letter))
        }
    }

    /** The text of token ids, marks left out. */
    fun decode(tokenIds: List<Int>): String {
        val bytes = ByteArrayOutputStream()
        for (id in tokenIds) {
            if (id in special) continue
            val token = tokens[id] ?: throw IllegalArgumentException("no token has the id $id")
            var at = 0
            while (at < token.length) {
                val letter = token.codePointAt(at)
                bytes.write(byteOf[letter] ?: throw IllegalArgumentException("token $id is no text"))
                at += Character.charCount(letter)
            }
        }
        return String(bytes.toByteArray(), Charsets.UTF_8).removePrefix(" ")
    }

    /** The token ids of a text; marks that it spells are text. */
    fun encode(text: String): List<Int> {
        val normal = steps.fold(text) { before, step -> step(before) }
        val pieces = splits.fold(listOf(normal)) { before, split -> before.flatMap(split) }
        return pieces.flatMap { merged(it.toByteArray(Charsets.UTF_8).map { byte -> letterOf[byte.toInt() and 0xff] }) }
    }

    /** Joins neighbours in the order of the merges until none is left to join. */
    private fun merged(letters: List<String>): List<Int> {
        val parts = ArrayList(letters)
        while (parts.size > 1) {
            var best = 0
            for (at in 1 until parts.size - 1) if (rank(parts, at) < rank(parts, best)) best = at
            if (rank(parts, best) == Int.MAX_VALUE) break
            parts[best] = parts[best] + parts.removeAt(best + 1)
        }
        return parts.map { ids[it] ?: throw IllegalArgumentException("the tokenizer cannot spell \"$it\"") }
    }

    private fun rank(parts: List<String>, at: Int) = ranks[Pair(parts[at], parts[at + 1])] ?: Int.MAX_VALUE

    private fun normalizer(step: JSONObject): (String) -> String = when (val type = step.getString("type")) {
        "NFC" -> { text -> Normalizer.normalize(text, Normalizer.Form.NFC) }
        "Lowercase" -> ::lower
        "Prepend" -> { text -> if (text == "") text else step.getString("prepend") + text }
        else -> throw IllegalArgumentException("the tokenizer's normalizer is $type; allowed: NFC, Lowercase, Prepend")
    }

    private fun split(step: JSONObject): (String) -> List<String> = when (val type = step.getString("type")) {
        "ByteLevel" -> {
            val spaced = step.getBoolean("add_prefix_space")
            ({ text -> pieces(WORDS, if (spaced && !text.startsWith(" ")) " $text" else text) })
        }
        "Digits" -> {
            val runs = if (step.getBoolean("individual_digits")) SINGLE_DIGITS else DIGITS
            ({ text -> pieces(runs, text) })
        }
        else -> throw IllegalArgumentException("the tokenizer's pre-tokenizer is $type; allowed: ByteLevel, Digits")
    }

    private companion object {
        val WORDS = Regex("'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+")
        val DIGITS = Regex("\\p{N}+|\\P{N}+")
        val SINGLE_DIGITS = Regex("\\p{N}|\\P{N}+")

        /** The steps of a part of the file, of which there is none, one or a sequence. */
        fun steps(part: JSONObject?, name: String): List<JSONObject> {
            if (part == null) return listOf()
            if (part.getString("type") != "Sequence") return listOf(part)
            return part.getJSONArray(name).let { all -> List(all.length()) { all.getJSONObject(it) } }
        }

        /** What a pattern finds in a text, in order. */
        fun pieces(pattern: Regex, text: String) = pattern.findAll(text).map { it.value }.toList()

        fun twoOf(merge: String) = Pair(merge.substringBefore(" "), merge.substringAfter(" "))
    }
}

/** Single spaces between words, none before punctuation. */
private fun spaced(text: String) = text.trim().replace(Regex("\\s+"), " ").replace(Regex(" ([,.;:!?])"), "$1")

/** A text in small letters. */
fun lower(text: String) = String(CharArray(text.length) { Character.toLowerCase(text[it]) })

/**
 * A question as models read it: small letters, straight quotes, single spaces, no full stop at its end.
 *
 * The part of `clean_question` of the Python package that typed questions need.
 */
fun cleanQuestion(text: String): String {
    val straight = text.replace(Regex("[\u2018\u2019]"), "'").replace(Regex("[\u201c\u201d]"), "\"")
    return spaced(lower(Normalizer.normalize(straight, Normalizer.Form.NFC))).trimEnd(' ', '.')
}

/**
 * A caption as a sentence: immediate repeats of one to three words left out ("a hat a hat"), a capital, a full stop.
 *
 * Of `sentence` of the Python package the part that what fastcap's models write needs.
 */
fun sentence(text: String): String {
    val words = ArrayList<String>()
    for (word in spaced(text).split(" ")) {
        words.add(word)
        for (n in 1..3) {
            val keys = words.takeLast(2 * n).map { lower(it).trim(',', '.', ';', ':') }
            if (keys.size == 2 * n && keys.take(n) == keys.drop(n)) {
                repeat(n) { words.removeAt(words.size - n - 1) } // the later copy stays, with what ends it
                break
            }
        }
    }
    val joined = words.joinToString(" ").trimEnd(' ', ',', ';', ':', '-', '.')
    val first = joined.indexOfFirst { Character.isLetterOrDigit(it) }
    if (first < 0) return ""
    val shown = joined.substring(0, first) + Character.toUpperCase(joined[first]) + joined.substring(first + 1)
    return if (shown.endsWith("!") || shown.endsWith("?")) shown else "$shown."
}
