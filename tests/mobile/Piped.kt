package fastcap.mobile

import java.io.File
import java.nio.ByteBuffer
import java.nio.ByteOrder
import java.util.Base64
import org.json.JSONArray
import org.json.JSONObject

/**
 * The app's captioner without a phone: whoever started this process runs the graphs, over ONNX Runtime.
 *
 * Reads a request a line, `{"pixels": base64}` and then `{"length": ...}`, `{"question": ...}` or `{"tokenizer": path,
 * "text": ...}`, and answers `{"said": ...}`, `{"ids": ...}` or `{"error": ...}`. In between it asks for graphs:
 * `{"graph": name}` is answered by the names of its inputs, with `"feeds"` by its outputs.
 */
fun main(arguments: Array<String>) {
    val captioner = try {
        Captioner(File(arguments[0])) { file -> Piped(file.name) }
    } catch (problem: Exception) {
        println(JSONObject().put("error", problem.message))
        return
    }
    println(JSONObject().put("name", captioner.name).put("answers", captioner.answers))
    var pixels = ByteArray(0)
    for (line in generateSequence { readLine() }) {
        val asked = JSONObject(line)
        val answer = JSONObject()
        try {
            when {
                asked.has("pixels") -> pixels = Base64.getDecoder().decode(asked.getString("pixels"))
                asked.has("tokenizer") -> {
                    val tokenizer = Tokenizer(JSONObject(File(asked.getString("tokenizer")).readText()))
                    answer.put("ids", JSONArray(tokenizer.encode(asked.getString("text"))))
                }
                else -> {
                    val said = if (asked.has("question")) {
                        captioner.ask(pixels, asked.getString("question"))
                    } else {
                        captioner.caption(pixels, asked.getString("length"))
                    }
                    answer.put("said", said.text).put("confidence", said.confidence)
                    answer.put("ids", JSONArray(said.tokenIds))
                }
            }
        } catch (problem: Exception) {
            answer.put("error", problem.message)
        }
        println(answer)
    }
}

private class Piped(private val name: String) : Graph {
    override val inputs = answered(JSONObject().put("graph", name)).getJSONArray("inputs").let { all ->
        List(all.length()) { all.getString(it) }
    }

    override fun run(feeds: Map<String, Tensor>): Map<String, Tensor> {
        val sent = JSONObject()
        for ((input, tensor) in feeds) sent.put(input, written(tensor))
        val outputs = answered(JSONObject().put("graph", name).put("feeds", sent))
        return outputs.keys().asSequence().toList().associateWith { read(outputs.getJSONObject(it)) }
    }

    private fun answered(request: JSONObject): JSONObject {
        println(request)
        return JSONObject(readLine()!!)
    }

    private fun written(tensor: Tensor): JSONObject {
        val data = tensor.data
        val bytes = ByteBuffer.allocate(8 * 1000000).order(ByteOrder.LITTLE_ENDIAN)
        when (data) {
            is ByteArray -> bytes.put(data)
            is LongArray -> data.forEach { bytes.putLong(it) }
            is FloatArray -> data.forEach { bytes.putFloat(it) }
        }
        val type = if (data is ByteArray) "uint8" else if (data is LongArray) "int64" else "float32"
        val text = Base64.getEncoder().encodeToString(bytes.array().copyOf(bytes.position()))
        return JSONObject().put("shape", JSONArray(tensor.shape.toList())).put("type", type).put("data", text)
    }

    private fun read(tensor: JSONObject): Tensor {
        val shape = tensor.getJSONArray("shape").let { all -> LongArray(all.length()) { all.getLong(it) } }
        val bytes = ByteBuffer.wrap(Base64.getDecoder().decode(tensor.getString("data"))).order(ByteOrder.LITTLE_ENDIAN)
        if (tensor.getString("type") == "int64") {
            return Tensor(shape, LongArray(bytes.remaining() / 8) { bytes.getLong(8 * it) })
        }
        return Tensor(shape, FloatArray(bytes.remaining() / 4) { bytes.getFloat(4 * it) })
    }
}
