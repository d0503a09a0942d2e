package fastcap.mobile

import androidx.test.platform.app.InstrumentationRegistry
import java.io.File
import java.security.MessageDigest
import kotlin.math.abs
import org.json.JSONObject
import org.junit.Assert.assertTrue
import org.junit.Test

/**
 * What only a phone or an emulator can tell: that Android decodes and turns the pictures of `mobile/golden` as Python
 * does, and that ONNX Runtime captions them. Run by `gradle connectedCheck`.
 */
class PhoneTest {
    private val golden = InstrumentationRegistry.getInstrumentation().context.assets // by build.gradle.kts
    private val rows = JSONObject(String(bytes("golden.json"))).getJSONArray("pictures").let { all ->
        List(all.length()) { all.getJSONObject(it) }
    }

    @Test
    fun picturesAreReadAsPythonReadsThem() {
        for (row in rows) {
            val name = row.getString("file")
            val pixels = readPhoto(bytes(name), 224, 224)
            val stated = if (row.getDouble("tolerance") == 0.0) null else name.substringBefore(".") + ".expected.png"
            if (stated == null) {
                val digest = MessageDigest.getInstance("SHA-256").digest(pixels)
                val sha256 = digest.joinToString("") { "%02x".format(it) }
                assertTrue("$name: other pixels", sha256 == row.getString("sha256"))
            } else {
                val expected = readPhoto(bytes(stated), 224, 224)
                val levels = pixels.indices.map { (pixels[it].toInt() and 0xff) - (expected[it].toInt() and 0xff) }
                val mean = levels.map { abs(it) }.average()
                assertTrue("$name: $mean levels on average", mean <= row.getDouble("tolerance"))
            }
        }
    }

    /** An int8 graph rounds a little otherwise on another processor: most captions are equal, not all. */
    @Test
    fun mostCaptionsAreThoseOfPython() {
        val captioner = Captioner(model()) { file -> OnnxGraph(file) }
        val equal = rows.map { row ->
            val said = captioner.caption(readPhoto(bytes(row.getString("file")), 224, 224))
            said.text == row.getJSONObject("captions").getJSONObject("normal").getString("caption")
        }
        assertTrue("$equal", equal.count { it } >= rows.size - 2)
    }

    /** The app's assets/model, which is the bundled model in this test, as a folder. */
    private fun model(): File {
        val app = InstrumentationRegistry.getInstrumentation().targetContext
        val folder = File(app.cacheDir, "model").apply { mkdirs() }
        for (name in app.assets.list("model").orEmpty()) {
            app.assets.open("model/$name").use { from -> File(folder, name).outputStream().use { from.copyTo(it) } }
        }
        return folder
    }

    private fun bytes(name: String) = golden.open(name).use { it.readBytes() }
}
