package fastcap.mobile

import kotlin.math.abs
import kotlin.math.max
import kotlin.math.min

/**
 * A decoded picture as it lies in its file, not yet turned upright.
 *
 * [argb]: [height] rows of [width] pixels, 0xAARRGGBB, colours not multiplied by alpha.
 * [hasAlpha]: whether any of them may be transparent.
 */
class Picture(val width: Int, val height: Int, val argb: IntArray, val hasAlpha: Boolean)

/**
 * A picture as the model reads it: [height] rows of [width] pixels of red, green, blue, its aspect not kept.
 *
 * This is src/fastcap/runtime/images.py of the Python package, which resizes with Pillow: the same integer arithmetic,
 * so the same bytes. mobile/golden holds pictures to prove that.
 *
 * [orientation]: 1 to 8 as in EXIF; pictures are turned after they are resized.
 * [shrink]: 2, 4 or 8 where a JPEG's decoder could not shrink it by that much itself; see [jpegShrink].
 */
fun squash(picture: Picture, width: Int, height: Int, orientation: Int = 1, shrink: Int = 1): ByteArray {
    val sideways = orientation in 5..8
    val (w, h) = if (sideways) Pair(height, width) else Pair(width, height)
    return turned(resize(reduce(onWhite(picture), shrink, shrink), w, h), w, h, orientation)
}

/** By how much Python has a JPEG's decoder shrink a picture: 8, 4, 2 or 1, so that it stays larger than the model's. */
fun jpegShrink(width: Int, height: Int, modelWidth: Int, modelHeight: Int, orientation: Int): Int {
    val sideways = orientation in 5..8
    val (w, h) = if (sideways) Pair(modelHeight, modelWidth) else Pair(modelWidth, modelHeight)
    val room = min(width / w, height / h)
    return intArrayOf(8, 4, 2).firstOrNull { room >= it } ?: 1
}

private const val REDUCING_GAP = 2 // box-shrink large pictures first, to twice the target
private const val PRECISION_BITS = 22 // of Pillow's fixed-point weights
private const val HALF = 1 shl (PRECISION_BITS - 1)

private fun onWhite(picture: Picture): Picture {
    if (!picture.hasAlpha) return picture
    val opaque = IntArray(picture.argb.size) { at ->
        val pixel = picture.argb[at]
        val alpha = pixel ushr 24
        var mixed = 0xff
        for (shift in intArrayOf(16, 8, 0)) {
            val colour = pixel ushr shift and 0xff
            mixed = mixed shl 8 or ((colour * alpha + 255 * (255 - alpha) + 127) / 255)
        }
        mixed
    }
    return Picture(picture.width, picture.height, opaque, false)
}

/** Means of [fx] x [fy] pixels, fewer at the right and lower edge: Pillow's `Image.reduce`. */
private fun reduce(picture: Picture, fx: Int, fy: Int): Picture {
    if (fx == 1 && fy == 1) return picture
    val width = (picture.width + fx - 1) / fx
    val height = (picture.height + fy - 1) / fy
    val argb = IntArray(width * height)
    for (y in 0 until height) {
        val bottom = min((y + 1) * fy, picture.height)
        for (x in 0 until width) {
            val right = min((x + 1) * fx, picture.width)
            val count = (bottom - y * fy) * (right - x * fx)
            var r = count / 2L // half, to round
            var g = r
            var b = r
            for (row in y * fy until bottom) {
                for (at in row * picture.width + x * fx until row * picture.width + right) {
                    val pixel = picture.argb[at]
                    r += pixel ushr 16 and 0xff
                    g += pixel ushr 8 and 0xff
                    b += pixel and 0xff
                }
            }
            val share = ((1 shl 24).toFloat() / count).toLong() // Pillow multiplies by a rounded reciprocal
            argb[y * width + x] =
                ((r * share shr 24 shl 16) or (g * share shr 24 shl 8) or (b * share shr 24)).toInt() or (0xff shl 24)
        }
    }
    return Picture(width, height, argb, false)
}

/** Pillow's `resize((width, height), BILINEAR, reducing_gap=2)`, across first and then down. */
private fun resize(picture: Picture, width: Int, height: Int): ByteArray {
    val fx = max(1, picture.width / width / REDUCING_GAP)
    val fy = max(1, picture.height / height / REDUCING_GAP)
    val source = reduce(picture, fx, fy)
    val across = mixes(source.width, picture.width.toFloat() / fx, width)
    val down = mixes(source.height, picture.height.toFloat() / fy, height)
    val wide = ByteArray(3 * width * source.height)
    for (y in 0 until source.height) {
        for (x in 0 until width) {
            var r = HALF
            var g = HALF
            var b = HALF
            across[x].parts.forEachIndexed { i, part ->
                val pixel = source.argb[y * source.width + across[x].first + i]
                r += (pixel ushr 16 and 0xff) * part
                g += (pixel ushr 8 and 0xff) * part
                b += (pixel and 0xff) * part
            }
            put(wide, 3 * (y * width + x), r, g, b)
        }
    }
    val pixels = ByteArray(3 * width * height)
    for (y in 0 until height) {
        for (x in 0 until width) {
            var r = HALF
            var g = HALF
            var b = HALF
            down[y].parts.forEachIndexed { i, part ->
                val at = 3 * ((down[y].first + i) * width + x)
                r += (wide[at].toInt() and 0xff) * part
                g += (wide[at + 1].toInt() and 0xff) * part
                b += (wide[at + 2].toInt() and 0xff) * part
            }
            put(pixels, 3 * (y * width + x), r, g, b)
        }
    }
    return pixels
}

private fun put(pixels: ByteArray, at: Int, r: Int, g: Int, b: Int) {
    pixels[at] = (r shr PRECISION_BITS).toByte()
    pixels[at + 1] = (g shr PRECISION_BITS).toByte()
    pixels[at + 2] = (b shr PRECISION_BITS).toByte()
}

/** What one output pixel is mixed from: the input [first] and those after it, each with its fixed-point weight. */
private class Mix(val first: Int, val parts: IntArray)

/** For each of [count] outputs its mix: a triangle over the first [box] of [size] inputs. */
private fun mixes(size: Int, box: Float, count: Int): List<Mix> {
    val scale = box.toDouble() / count
    val support = max(scale, 1.0)
    return List(count) { index ->
        val center = (index + 0.5) * scale
        val first = max(0, (center - support + 0.5).toInt())
        val last = min(size, (center + support + 0.5).toInt())
        val parts = (first until last).map { max(0.0, 1 - abs((it - center + 0.5) / support)) }
        val sum = parts.sum()
        Mix(first, IntArray(parts.size) { (parts[it] / sum * (1 shl PRECISION_BITS) + 0.5).toInt() })
    }
}

/** Upright pixels of a picture of [width] x [height] that lies as [orientation] says. */
private fun turned(pixels: ByteArray, width: Int, height: Int, orientation: Int): ByteArray {
    if (orientation !in 2..8) return pixels
    val sideways = orientation >= 5
    val (outWidth, outHeight) = if (sideways) Pair(height, width) else Pair(width, height)
    val fromRight = orientation in intArrayOf(2, 3, 7, 8)
    val fromBottom = orientation in intArrayOf(3, 4, 6, 7)
    val upright = ByteArray(pixels.size)
    for (y in 0 until outHeight) {
        for (x in 0 until outWidth) {
            val (column, row) = if (sideways) Pair(y, x) else Pair(x, y)
            val fromRow = if (fromBottom) height - 1 - row else row
            val fromColumn = if (fromRight) width - 1 - column else column
            System.arraycopy(pixels, 3 * (fromRow * width + fromColumn), upright, 3 * (y * outWidth + x), 3)
        }
    }
    return upright
}
