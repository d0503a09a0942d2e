package fastcap.mobile

import android.app.Activity
import android.content.ActivityNotFoundException
import android.content.Intent
import android.net.Uri
import android.os.Bundle
import android.provider.MediaStore
import android.view.View
import android.widget.Button
import android.widget.EditText
import android.widget.ImageView
import android.widget.LinearLayout
import android.widget.ScrollView
import android.widget.TextView
import androidx.core.content.FileProvider
import java.io.File
import java.io.IOException
import java.util.concurrent.Executors

/** One screen: a photo from the camera or the gallery, its caption in three lengths, and questions about it. */
class MainActivity : Activity() {
    private val worker = Executors.newSingleThreadExecutor() // a captioner serves one thread at a time
    private lateinit var captioner: Captioner // made and used by the worker alone
    private var pixels: ByteArray? = null // of the photo that is shown; the worker's, too

    private lateinit var picture: ImageView
    private lateinit var said: TextView
    private lateinit var question: EditText
    private lateinit var asking: View

    override fun onCreate(savedInstanceState: Bundle?) {
        super.onCreate(savedInstanceState)
        setContentView(screen())
        work {
            captioner = Captioner(modelFolder()) { file -> OnnxGraph(file) }
            if (captioner.answers) runOnUiThread { asking.visibility = View.VISIBLE }
            "Model ${captioner.name}. Choose a photo: it does not leave this phone."
        }
    }

    override fun onDestroy() {
        worker.shutdown()
        super.onDestroy()
    }

    private fun screen(): View {
        picture = ImageView(this).apply { adjustViewBounds = true }
        said = TextView(this).apply {
            textSize = 20f
            accessibilityLiveRegion = View.ACCESSIBILITY_LIVE_REGION_POLITE // read aloud as soon as it is there
        }
        question = EditText(this).apply { hint = "Is there a dog?" }
        asking = row(question, button("Ask") { ask() }).apply { visibility = View.GONE }
        val column = LinearLayout(this).apply { orientation = LinearLayout.VERTICAL }
        val lengths = listOf("short", "normal", "long").map { length -> button(length) { caption(length) } }
        val views = listOf(row(button("Camera") { takePhoto() }, button("Gallery") { choosePhoto() }), picture, said)
        for (view in views + row(*lengths.toTypedArray()) + asking) column.addView(view)
        return ScrollView(this).apply { addView(column) }
    }

    private fun row(vararg views: View) = LinearLayout(this).apply { views.forEach { addView(it) } }

    private fun button(label: String, action: () -> Unit) = Button(this).apply {
        text = label
        setOnClickListener { action() }
    }

    private fun takePhoto() {
        val intent = Intent(MediaStore.ACTION_IMAGE_CAPTURE).putExtra(MediaStore.EXTRA_OUTPUT, addressOf(photoFile()))
        start(intent.addFlags(Intent.FLAG_GRANT_WRITE_URI_PERMISSION), CAMERA)
    }

    private fun choosePhoto() = start(Intent(Intent.ACTION_GET_CONTENT).setType("image/*"), GALLERY)

    private fun start(intent: Intent, request: Int) = try {
        startActivityForResult(intent, request)
    } catch (none: ActivityNotFoundException) {
        said.text = "No app on this phone does that."
    }

    override fun onActivityResult(requestCode: Int, resultCode: Int, data: Intent?) {
        super.onActivityResult(requestCode, resultCode, data)
        if (resultCode != RESULT_OK) return
        val address = if (requestCode == CAMERA) addressOf(photoFile()) else data?.data ?: return
        picture.setImageURI(null) // or a second photo at the same address would not be shown
        picture.setImageURI(address)
        work {
            pixels = null
            val file = contentResolver.openInputStream(address)?.use { it.readBytes() } ?: throw IOException("no photo")
            photoFile().delete() // nothing of it stays behind
            pixels = readPhoto(file, captioner.modelWidth, captioner.modelHeight)
            captioned("normal")
        }
    }

    private fun caption(length: String) = work { captioned(length) }

    private fun ask() {
        val asked = question.text.toString()
        work { pixels?.let { shown(captioner.ask(it, asked)) } ?: NO_PHOTO }
    }

    private fun captioned(length: String) = pixels?.let { shown(captioner.caption(it, length)) } ?: NO_PHOTO

    private fun shown(found: Said) = "${found.text} (${Math.round(100 * found.confidence)} %)"

    /** Runs a job behind the screen, and shows what it says. */
    private fun work(job: () -> String) {
        worker.execute {
            val text = try {
                job()
            } catch (problem: Exception) { // a person can choose another photo; a trace on the screen helps nobody
                problem.message ?: problem.toString()
            }
            runOnUiThread {
                said.text = text
                picture.contentDescription = text
            }
        }
    }

    /** The model out of the app's assets as a folder: ONNX Runtime opens files, some with weights in others. */
    private fun modelFolder(): File {
        val folder = File(filesDir, "model")
        val manifest = File(folder, "model.json")
        val stated = assets.open("model/model.json").use { it.readBytes() }
        if (!manifest.isFile || !manifest.readBytes().contentEquals(stated)) {
            folder.deleteRecursively()
            folder.mkdirs()
            for (name in assets.list("model").orEmpty().filter { it != manifest.name }) {
                assets.open("model/$name").use { from -> File(folder, name).outputStream().use { from.copyTo(it) } }
            }
            manifest.writeBytes(stated) // last: what is cut short begins anew
        }
        return folder
    }

    private fun photoFile() = File(File(cacheDir, "photos").apply { mkdirs() }, "photo.jpg")

    private fun addressOf(file: File): Uri = FileProvider.getUriForFile(this, "$packageName.files", file)

    private companion object {
        const val CAMERA = 1
        const val GALLERY = 2
        const val NO_PHOTO = "Choose a photo first."
    }
}
