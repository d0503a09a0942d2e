import Foundation

/// A decoded picture as it lies in its file, not yet turned upright, any transparency on white.
///
/// `rgbx`: `height` rows of `width` pixels, four bytes each: red, green, blue, and one that is not read.
public struct Picture {
    public let width: Int
    public let height: Int
    public let rgbx: [UInt8]

    public init(width: Int, height: Int, rgbx: [UInt8]) {
        self.width = width
        self.height = height
        self.rgbx = rgbx
    }
}

/// A picture as the model reads it: `height` rows of `width` pixels of red, green, blue, its aspect not kept.
///
/// This is src/fastcap/runtime/images.py of the Python package, which resizes with Pillow: the same integer arithmetic,
/// so the same bytes. mobile/golden holds pictures to prove that.
///
/// `orientation`: 1 to 8 as in EXIF; pictures are turned after they are resized.
/// `shrink`: 2, 4 or 8 where a JPEG's decoder could not shrink it by that much itself; see `jpegShrink`.
public func squash(
    _ picture: Picture, width: Int, height: Int, orientation: Int = 1, shrink: Int = 1
) -> [UInt8] {
    let sideways = (5...8).contains(orientation)
    let (w, h) = sideways ? (height, width) : (width, height)
    let small = resize(reduce(picture, shrink, shrink), w, h)
    return turned(small, w, h, orientation)
}

/// By how much Python has a JPEG's decoder shrink a picture: 8, 4, 2 or 1, so that it stays larger than the model's.
public func jpegShrink(width: Int, height: Int, modelWidth: Int, modelHeight: Int, orientation: Int) -> Int {
    let sideways = (5...8).contains(orientation)
    let (w, h) = sideways ? (modelHeight, modelWidth) : (modelWidth, modelHeight)
    let room = min(width / w, height / h)
    return [8, 4, 2].first { room >= $0 } ?? 1
}

private let reducingGap = 2 // box-shrink large pictures first, to twice the target
private let precisionBits = 22 // of Pillow's fixed-point weights
private let half = 1 << 21

/// Means of `fx` x `fy` pixels, fewer at the right and lower edge: Pillow's `Image.reduce`.
private func reduce(_ picture: Picture, _ fx: Int, _ fy: Int) -> Picture {
    if fx == 1 && fy == 1 { return picture }
    let width = (picture.width + fx - 1) / fx
    let height = (picture.height + fy - 1) / fy
    var rgbx = [UInt8](repeating: 255, count: 4 * width * height)
    for y in 0..<height {
        let bottom = min((y + 1) * fy, picture.height)
        for x in 0..<width {
            let right = min((x + 1) * fx, picture.width)
            let count = (bottom - y * fy) * (right - x * fx)
            var r = count / 2 // half, to round
            var g = r
            var b = r
            for row in (y * fy)..<bottom {
                for column in (x * fx)..<right {
                    let at = 4 * (row * picture.width + column)
                    r += Int(picture.rgbx[at])
                    g += Int(picture.rgbx[at + 1])
                    b += Int(picture.rgbx[at + 2])
                }
            }
            let share = Int(Float(1 << 24) / Float(count)) // Pillow multiplies by a rounded reciprocal
            let at = 4 * (y * width + x)
            rgbx[at] = UInt8(truncatingIfNeeded: (r * share) >> 24)
            rgbx[at + 1] = UInt8(truncatingIfNeeded: (g * share) >> 24)
            rgbx[at + 2] = UInt8(truncatingIfNeeded: (b * share) >> 24)
        }
    }
    return Picture(width: width, height: height, rgbx: rgbx)
}

/// Pillow's `resize((width, height), BILINEAR, reducing_gap=2)`, across first and then down.
private func resize(_ picture: Picture, _ width: Int, _ height: Int) -> [UInt8] {
    let fx = max(1, picture.width / width / reducingGap)
    let fy = max(1, picture.height / height / reducingGap)
    let source = reduce(picture, fx, fy)
    let across = mixes(source.width, Float(picture.width) / Float(fx), width)
    let down = mixes(source.height, Float(picture.height) / Float(fy), height)
    var wide = [UInt8](repeating: 0, count: 3 * width * source.height)
    for y in 0..<source.height {
        for x in 0..<width {
            let first = 4 * (y * source.width + across[x].first)
            mix(source.rgbx, first, 4, across[x].parts, &wide, 3 * (y * width + x))
        }
    }
    var pixels = [UInt8](repeating: 0, count: 3 * width * height)
    for y in 0..<height {
        for x in 0..<width {
            let first = 3 * (down[y].first * width + x)
            mix(wide, first, 3 * width, down[y].parts, &pixels, 3 * (y * width + x))
        }
    }
    return pixels
}

/// One pixel of `target` from those that begin at `first` and lie `step` bytes apart.
private func mix(
    _ source: [UInt8], _ first: Int, _ step: Int, _ parts: [Int], _ target: inout [UInt8], _ at: Int
) {
    var r = half
    var g = half
    var b = half
    var from = first
    for part in parts {
        r += Int(source[from]) * part
        g += Int(source[from + 1]) * part
        b += Int(source[from + 2]) * part
        from += step
    }
    target[at] = UInt8(truncatingIfNeeded: r >> precisionBits)
    target[at + 1] = UInt8(truncatingIfNeeded: g >> precisionBits)
    target[at + 2] = UInt8(truncatingIfNeeded: b >> precisionBits)
}

/// What one output pixel is mixed from: the input `first` and those after it, each with its fixed-point weight.
private struct Mix {
    let first: Int
    let parts: [Int]
}

/// For each of `count` outputs its mix: a triangle over the first `box` of `size` inputs.
private func mixes(_ size: Int, _ box: Float, _ count: Int) -> [Mix] {
    let scale = Double(box) / Double(count)
    let support = max(scale, 1)
    return (0..<count).map { index in
        let center = (Double(index) + 0.5) * scale
        let first = max(0, Int(center - support + 0.5))
        let last = min(size, Int(center + support + 0.5))
        let parts = (first..<last).map { max(0, 1 - abs((Double($0) - center + 0.5) / support)) }
        let sum = parts.reduce(0, +)
        return Mix(first: first, parts: parts.map { Int($0 / sum * Double(1 << precisionBits) + 0.5) })
    }
}

/// Upright pixels of a picture of `width` x `height` that lies as `orientation` says.
private func turned(_ pixels: [UInt8], _ width: Int, _ height: Int, _ orientation: Int) -> [UInt8] {
    if !(2...8).contains(orientation) { return pixels }
    let sideways = orientation >= 5
    let (outWidth, outHeight) = sideways ? (height, width) : (width, height)
    let fromRight = [2, 3, 7, 8].contains(orientation)
    let fromBottom = [3, 4, 6, 7].contains(orientation)
    var upright = [UInt8](repeating: 0, count: pixels.count)
    for y in 0..<outHeight {
        for x in 0..<outWidth {
            let (column, row) = sideways ? (y, x) : (x, y)
            let fromRow = fromBottom ? height - 1 - row : row
            let fromColumn = fromRight ? width - 1 - column : column
            let from = 3 * (fromRow * width + fromColumn)
            let to = 3 * (y * outWidth + x)
            for channel in 0..<3 { upright[to + channel] = pixels[from + channel] }
        }
    }
    return upright
}
