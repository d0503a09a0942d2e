package fastcap.mobile

import java.io.File
import java.security.MessageDigest
import javax.imageio.ImageIO
import kotlin.math.abs
import kotlin.system.exitProcess
import org.json.JSONArray
import org.json.JSONObject

/**
 * Compares the app with what the Python runtime says, as `mobile/golden` states it. Needs no phone and no ONNX Runtime:
 * the graphs' outputs are recorded. Run by `gradle test`, and as a program by the Python package's own tests.
 */
fun main(arguments: Array<String>) {
    val faults = faults(File(arguments[0]))
    faults.forEach(::println)
    println("${faults.size} differences")
    exitProcess(if (faults.isEmpty()) 0 else 1)
}

/** Each difference in a line. [folder]: `mobile/golden`, in a clone: the bundled model is read from there. */
fun faults(folder: File): List<String> {
    val golden = JSONObject(File(folder, "golden.json").readText())
    val name = golden.getJSONObject("model").getString("name")
    val model = File(folder, "../../src/fastcap/bundled/$name").canonicalFile
    return pictures(golden, folder, model) + texts(golden, model) + answers(golden.getJSONObject("table"), model)
}

private fun pictures(golden: JSONObject, folder: File, model: File): List<String> {
    val recorded = Recorded()
    val captioner = Captioner(model) { recorded }
    val faults = ArrayList<String>()
    for (row in rows(golden.getJSONArray("pictures"))) {
        val name = row.getString("file")
        val picture = picture(File(folder, name))
        val orientation = row.getInt("orientation")
        val (width, height) = Pair(captioner.modelWidth, captioner.modelHeight)
        val isJpeg = name.endsWith(".jpg")
        val shrink = if (isJpeg) jpegShrink(picture.width, picture.height, width, height, orientation) else 1
        val pixels = squash(picture, width, height, orientation, shrink)
        if (row.getDouble("tolerance") == 0.0) {
            val sha256 = MessageDigest.getInstance("SHA-256").digest(pixels).joinToString("") { "%02x".format(it) }
            if (sha256 != row.getString("sha256")) faults.add("$name: pixels are not those of Python")
        } else {
            val expected = picture(File(folder, name.substringBefore(".") + ".expected.png"))
            val mean = difference(pixels, squash(expected, width, height))
            if (mean > row.getDouble("tolerance")) faults.add("$name: pixels differ by $mean on average")
        }
        for (length in captioner.lengths) {
            val asked = row.getJSONObject("captions").getJSONObject(length)
            recorded.outputs = asked
            val said = captioner.caption(pixels, length)
            val range = (recorded.feeds.getValue("length_range").longs).toList()
            val stated = asked.getJSONArray("length_range").let { listOf(it.getLong(0), it.getLong(1)) }
            if (range != stated) faults.add("$name, $length: asked for $range; expected $stated")
            val caption = asked.getString("caption")
            if (said.text != caption) faults.add("$name, $length: ${said.text}; expected $caption")
            val confidence = asked.getDouble("confidence")
            if (abs(said.confidence - confidence) > 1e-4) faults.add("$name, $length: ${said.confidence}")
        }
    }
    return faults
}

private fun texts(golden: JSONObject, model: File): List<String> {
    val tokenizer = Tokenizer(JSONObject(File(model, "tokenizer.json").readText()))
    val faults = ArrayList<String>()
    for (row in rows(golden.getJSONArray("questions"))) {
        val cleaned = cleanQuestion(row.getString("question"))
        if (cleaned != row.getString("cleaned")) faults.add("cleaned: $cleaned; expected ${row["cleaned"]}")
        val ids = tokenizer.encode(cleaned)
        if (ids != ids(row.getJSONArray("token_ids"))) faults.add("$cleaned: $ids; expected ${row["token_ids"]}")
        if (tokenizer.decode(ids) != cleaned) faults.add("$cleaned becomes ${tokenizer.decode(ids)}")
    }
    for (row in rows(golden.getJSONArray("sentences"))) {
        val made = sentence(row.getString("text"))
        if (made != row.getString("sentence")) faults.add("${row["text"]} becomes $made; expected ${row["sentence"]}")
    }
    return faults
}

/** Asks a model whose language model is a table. */
private fun answers(table: JSONObject, model: File): List<String> {
    val folder = createTempDirectory()
    try {
        File(folder, "model.json").writeText(table.getJSONObject("manifest").toString())
        File(model, "tokenizer.json").copyTo(File(folder, "tokenizer.json"))
        val recorded = Recorded()
        val captioner = Captioner(folder) { recorded }
        val size = table.getJSONObject("manifest").getJSONObject("vocabulary").getInt("size")
        return rows(table.getJSONArray("asked")).flatMap { row ->
            recorded.logP = rows(row.getJSONArray("log_p")).map { logP ->
                FloatArray(size) { id -> logP.optDouble(id.toString(), -30.0).toFloat() }
            }
            recorded.read.clear()
            val said = captioner.ask(ByteArray(0), row.getString("question"))
            val reads = row.getJSONArray("reads").let { all -> List(all.length()) { ids(all.getJSONArray(it)) } }
            val isSure = abs(said.confidence - row.getDouble("confidence")) < 1e-4
            listOf(
                if (recorded.read == reads) null else "${row["question"]} reads ${recorded.read}; expected $reads",
                if (said.text == row.getString("answer")) null else "answered ${said.text}; expected ${row["answer"]}",
                if (isSure) null else "the confidence is ${said.confidence}; expected ${row["confidence"]}"
            ).filterNotNull()
        }
    } finally {
        folder.deleteRecursively()
    }
}

/** All graphs of a model: gives what was recorded, and keeps what it was fed. */
private class Recorded : Graph {
    var outputs = JSONObject()
    var logP = listOf<FloatArray>()
    var feeds = mapOf<String, Tensor>()
    val read = ArrayList<List<Int>>()

    override val inputs = listOf("images")

    override fun run(feeds: Map<String, Tensor>): Map<String, Tensor> {
        this.feeds = feeds
        val some = Tensor(longArrayOf(4, 2, 3, 5), FloatArray(120)) // of a shape as the picture's keys and values have
        if ("images" in feeds && "length_range" !in feeds) return mapOf("image_tokens" to some)
        if ("image_tokens" in feeds) return mapOf("prefix" to some)
        if ("prefix" in feeds) return mapOf("state0" to some)
        if ("cache" in feeds) return languageModel(feeds)
        val rows = outputs.getJSONArray("token_ids")
        val longest = rows.getJSONArray(0).length()
        val all = List(rows.length()) { ids(rows.getJSONArray(it)) }.flatten()
        val lengths = ids(outputs.getJSONArray("lengths"))
        val confidences = outputs.getJSONArray("confidences")
        val shape = longArrayOf(1, rows.length().toLong())
        return mapOf(
            "token_ids" to Tensor(shape + longest.toLong(), LongArray(all.size) { all[it].toLong() }),
            "lengths" to Tensor(shape, LongArray(lengths.size) { lengths[it].toLong() }),
            "confidences" to Tensor(shape, FloatArray(lengths.size) { confidences.getDouble(it).toFloat() })
        )
    }

    private fun languageModel(feeds: Map<String, Tensor>): Map<String, Tensor> {
        val tokens = feeds.getValue("token_ids").longs
        val cache = feeds.getValue("cache").shape
        val before = read.map { it.size }.sum() + 1L // and the padding
        check(cache.toList() == listOf(4L, 2L, 1L, before, 5L)) { "the cache is ${cache.toList()} after $before" }
        check(feeds.getValue("padding").longs[0] == 1L && "state0" in feeds)
        read.add(tokens.map { it.toInt() })
        cache[3] = before + tokens.size
        val next = Tensor(longArrayOf(1), logP[read.size - 1])
        return mapOf("log_p" to next, "new_cache" to Tensor(cache, FloatArray(0)))
    }
}

private fun picture(file: File): Picture {
    val image = ImageIO.read(file)
    val argb = image.getRGB(0, 0, image.width, image.height, null, 0, image.width)
    return Picture(image.width, image.height, argb, image.colorModel.hasAlpha())
}

private fun difference(one: ByteArray, other: ByteArray) =
    one.indices.map { abs((one[it].toInt() and 0xff) - (other[it].toInt() and 0xff)) }.average()

private fun rows(array: JSONArray) = List(array.length()) { array.getJSONObject(it) }

private fun ids(array: JSONArray) = List(array.length()) { array.getInt(it) }

private fun createTempDirectory() = java.nio.file.Files.createTempDirectory("golden").toFile()
