package fastcap.mobile

import java.io.File
import java.io.IOException
import java.security.MessageDigest
import kotlin.math.exp
import kotlin.math.ln
import org.json.JSONObject

/** Numbers of a [shape]: [data] is a ByteArray (uint8), a LongArray (int64) or a FloatArray (float32). */
class Tensor(val shape: LongArray, val data: Any) {
    val floats get() = data as FloatArray
    val longs get() = data as LongArray
}

/** A network that is ready to run. [OnnxGraph] is one; another runtime takes its place by implementing this. */
interface Graph {
    val inputs: List<String>

    /** All outputs by name. */
    fun run(feeds: Map<String, Tensor>): Map<String, Tensor>
}

/** What is shown: a caption or an answer, its [confidence] from 0 to 1, and the tokens it was made of. */
class Said(val text: String, val confidence: Double, val tokenIds: List<Int>)

/**
 * A model directory: pictures in, captions and answers out.
 *
 * [folder] holds `model.json` and the files that it lists; [open] makes a graph of one of them. Of two kinds of model:
 * "parallel", one graph from pixels to captions; "prefix", a language model that reads the picture first, which is
 * decoded greedily. A picture is [modelWidth] x [modelHeight] pixels, as [squash] gives them.
 *
 * Throws IOException for a directory that is damaged or of another kind. Use it from one thread at a time.
 */
class Captioner(private val folder: File, private val open: (File) -> Graph) {
    private val manifest = manifest(folder)
    private val vocabulary = manifest.getJSONObject("vocabulary")
    private val decoding = manifest.getJSONObject("decoding")
    private val calibration = manifest.getJSONObject("calibration")
    private val questions: JSONObject? = manifest.optJSONObject("questions")
    private val tokenizer = Tokenizer(JSONObject(File(folder, "tokenizer.json").readText()))
    private val graphs = HashMap<String, Graph>()
    private val isPrefix = manifest.getString("kind") == "prefix"
    private var encoded: Pair<ByteArray, Map<String, Tensor>>? = null // the last picture: one is asked many questions

    val name: String = manifest.getString("name")
    val modelWidth = manifest.getJSONObject("preprocessing").getInt("width")
    val modelHeight = manifest.getJSONObject("preprocessing").getInt("height")

    /** Names of lengths for [caption]. */
    val lengths = listOf("short", "normal", "long")

    /** Whether [ask] answers. */
    val answers = isPrefix && questions != null

    /** The model's caption of a picture. */
    fun caption(pixels: ByteArray, length: String = "normal"): Said {
        val range = decoding.getJSONObject("lengths").getJSONArray(length)
        val low = range.getInt(0)
        val high = range.getInt(1)
        if (!isPrefix) return parallel(pixels, low, high)
        val found = greedy(pixels, listOf(vocabulary.getInt("bos_id")), low, high)
        val probability = exp(found.logP.average())
        return Said(sentence(tokenizer.decode(found.ids)), confidence(calibration, probability), found.ids)
    }

    /** The answer to a question about a picture. Throws IllegalArgumentException for one that holds no words or is too long. */
    fun ask(pixels: ByteArray, question: String): Said {
        val limits = checkNotNull(questions) { "model $name writes captions and answers no questions" }
        val asked = cleanQuestion(question)
        require(asked.any { Character.isLetterOrDigit(it) }) { "the question holds no words" }
        val ids = tokenizer.encode(limits.getString("template").replace("{question}", asked))
        require(ids.size <= limits.getInt("tokens")) { "the question is too long: at most ${limits["tokens"]} tokens" }
        val found = greedy(pixels, listOf(vocabulary.getInt("bos_id")) + ids, 1, decoding.getInt("max_length"))
        return Said(tokenizer.decode(found.ids), confidence(limits, exp(found.logP.sum())), found.ids)
    }

    /** The likeliest caption of [low] to [high] tokens, which the one graph of a parallel model gives. */
    private fun parallel(pixels: ByteArray, low: Int, high: Int): Said {
        val candidates = minOf(decoding.getInt("default_candidates"), high - low + 1)
        val size = vocabulary.getInt("size")
        val outputs = graph("model.onnx").run(
            mapOf(
                "images" to picture(pixels),
                "length_range" to Tensor(longArrayOf(2), longArrayOf(low.toLong(), high.toLong())),
                "candidates" to Tensor(longArrayOf(1), longArrayOf(candidates.toLong())),
                "penalties" to Tensor(longArrayOf(size.toLong()), FloatArray(size))
            )
        )
        val length = outputs.getValue("lengths").longs[0].toInt() // the first candidate is the best
        val ids = outputs.getValue("token_ids").longs.take(length).map { it.toInt() }
        val probability = outputs.getValue("confidences").floats[0].toDouble()
        return Said(sentence(tokenizer.decode(ids)), confidence(calibration, probability), ids)
    }

    private class Found(val ids: List<Int>, val logP: List<Double>)

    /** [low] to [high] tokens that follow a [prompt], each the likeliest, with their logarithms and the end mark's. */
    private fun greedy(pixels: ByteArray, prompt: List<Int>, low: Int, high: Int): Found {
        val state = encode(pixels)
        val (layers, heads, _, headWidth) = state.getValue("state0").shape.toList()
        // Nothing was read yet: one column, which is padding, since some bindings refuse tensors without elements.
        val nothing = FloatArray((layers * heads * headWidth).toInt())
        var cache = Tensor(longArrayOf(layers, heads, 1, 1, headWidth), nothing)
        val padding = Tensor(longArrayOf(1), longArrayOf(1))
        val parents = Tensor(longArrayOf(1), longArrayOf(0))
        val end = vocabulary.getInt("eos_id")
        val marks = listOf("pad_id", "bos_id", "mask_id", "unk_id").filter { !vocabulary.isNull(it) }
        val barred = marks.map { vocabulary.getInt(it) }.filter { it != end }.toSet()
        var read = prompt
        val ids = ArrayList<Int>()
        val logs = ArrayList<Double>()
        while (true) {
            val tokens = Tensor(longArrayOf(1, read.size.toLong()), LongArray(read.size) { read[it].toLong() })
            val feeds = mapOf("token_ids" to tokens, "parents" to parents, "cache" to cache, "padding" to padding)
            val outputs = graph("language_model.onnx").run(feeds + state)
            val logP = outputs.getValue("log_p").floats
            cache = outputs.getValue("new_cache")
            var best = end
            if (ids.size < high) {
                val last = ids.lastOrNull() // which never comes twice in a row
                val allowed = logP.indices.filter { it !in barred && it != last && (it != end || ids.size >= low) }
                best = allowed.first()
                for (id in allowed) if (logP[id] > logP[best]) best = id
            }
            logs.add(logP[best].toDouble())
            if (best == end) return Found(ids, logs)
            ids.add(best)
            read = listOf(best)
        }
    }

    /** What the language model reads of a picture. */
    private fun encode(pixels: ByteArray): Map<String, Tensor> {
        encoded?.let { (last, state) -> if (last === pixels) return state }
        val projection = graph("projection.onnx").run(mapOf("image_tokens" to look(pixels).getValue("image_tokens")))
        val state = graph("prefix_init.onnx").run(mapOf("prefix" to projection.getValue("prefix")))
        encoded = Pair(pixels, state)
        return state
    }

    /** The vision part: one graph, or one for each scale, of which later ones run only if those before are not sure. */
    private fun look(pixels: ByteArray): Map<String, Tensor> {
        val thresholds = manifest.optJSONObject("exits")?.getJSONArray("thresholds")
        var known = mapOf("images" to picture(pixels))
        for (scale in 0..(thresholds?.length() ?: 0)) {
            val graph = graph(if (scale == 0) "vision_encoder.onnx" else "scale$scale.onnx")
            val outputs = graph.run(known.filterKeys { it in graph.inputs })
            if (thresholds == null || scale == thresholds.length()) return outputs
            if (outputs.getValue("sure").floats[0] >= thresholds.getDouble(scale)) return outputs
            known = known + ("tokens_before" to outputs.getValue("image_tokens"))
            known = known + ("map_before" to outputs.getValue("carry"))
        }
        throw IllegalStateException("no scale is the last")
    }

    private fun picture(pixels: ByteArray) =
        Tensor(longArrayOf(1, modelHeight.toLong(), modelWidth.toLong(), 3), pixels)

    private fun graph(name: String) = graphs.getOrPut(name) { open(File(folder, name)) }

    private companion object {
        const val FORMAT = 2

        /** `model.json`, once every file that it lists is as it says: one of another model would go unnoticed. */
        fun manifest(folder: File): JSONObject {
            val manifest = JSONObject(File(folder, "model.json").readText())
            val kind = manifest.optString("kind")
            if (manifest.optInt("format") != FORMAT || kind !in listOf("parallel", "prefix")) {
                val format = manifest.opt("format")
                throw IOException("$folder: format $format, kind $kind; allowed: $FORMAT, parallel or prefix")
            }
            val files = manifest.getJSONObject("files")
            for (name in files.keys()) {
                val file = File(folder, name)
                val stated = files.getJSONObject(name).getString("sha256")
                val isWhole = file.isFile && sha256(file) == stated
                if (!isWhole) throw IOException("$file: missing, or not as model.json says")
            }
            return manifest
        }

        fun sha256(file: File): String {
            val digest = MessageDigest.getInstance("SHA-256")
            file.inputStream().use { stream ->
                val block = ByteArray(1 shl 20)
                while (true) {
                    val count = stream.read(block)
                    if (count < 0) break
                    digest.update(block, 0, count)
                }
            }
            return digest.digest().joinToString("") { "%02x".format(it) }
        }

        /** A probability as the share of such captions or answers that are right: a logistic curve of the manifest. */
        fun confidence(curve: JSONObject, probability: Double): Double {
            val p = probability.coerceIn(1e-6, 1 - 1e-6)
            val x = curve.getDouble("scale") * ln(p / (1 - p)) + curve.getDouble("offset")
            return 1 / (1 + exp(-x.coerceIn(-30.0, 30.0)))
        }
    }
}
