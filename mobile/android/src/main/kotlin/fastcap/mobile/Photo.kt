package fastcap.mobile

import android.graphics.Bitmap
import android.graphics.BitmapFactory
import android.graphics.ColorSpace
import android.media.ExifInterface
import java.io.ByteArrayInputStream
import java.io.IOException

private const val MAX_PIXELS = 50000000L // as many as a phone has memory for

/**
 * The bytes of a picture's file as the model reads it; see [squash].
 *
 * Only decoding is left to Android. It shrinks a JPEG while it decodes, as Python does, turns colours into sRGB, and
 * leaves the picture as it lies. Throws IOException for what it does not decode.
 */
fun readPhoto(file: ByteArray, width: Int, height: Int): ByteArray {
    val orientation = orientation(file)
    val bounds = BitmapFactory.Options().apply { inJustDecodeBounds = true }
    BitmapFactory.decodeByteArray(file, 0, file.size, bounds)
    if (bounds.outWidth < 1) throw IOException("not a picture that this phone reads")
    val isJpeg = bounds.outMimeType == "image/jpeg"
    val shrink = if (isJpeg) jpegShrink(bounds.outWidth, bounds.outHeight, width, height, orientation) else 1
    if (bounds.outWidth.toLong() * bounds.outHeight / (shrink * shrink) > MAX_PIXELS) {
        throw IOException("${bounds.outWidth}x${bounds.outHeight} pixels are too many for this phone")
    }
    val options = BitmapFactory.Options().apply {
        inSampleSize = shrink
        inPreferredConfig = Bitmap.Config.ARGB_8888
        inPreferredColorSpace = ColorSpace.get(ColorSpace.Named.SRGB)
        inPremultiplied = false
    }
    val bitmap = BitmapFactory.decodeByteArray(file, 0, file.size, options) ?: throw IOException("a damaged picture")
    val argb = IntArray(bitmap.width * bitmap.height)
    bitmap.getPixels(argb, 0, bitmap.width, 0, 0, bitmap.width, bitmap.height)
    val picture = Picture(bitmap.width, bitmap.height, argb, bitmap.hasAlpha())
    bitmap.recycle()
    return squash(picture, width, height, orientation)
}

private fun orientation(file: ByteArray): Int = try {
    ExifInterface(ByteArrayInputStream(file)).getAttributeInt(ExifInterface.TAG_ORIENTATION, 1)
} catch (damaged: IOException) {
    1 // the picture itself may be whole
}
