import CoreGraphics
import FastcapCore
import Foundation
import ImageIO

private let maxPixels = 50_000_000 // as many as a phone has memory for

/// The bytes of a picture's file as the model reads it; see `squash`.
///
/// Only decoding is left to iOS. It shrinks a JPEG while it decodes, as Python does, turns colours into sRGB, and
/// leaves the picture as it lies. Throws FastcapError for what it does not decode.
func readPhoto(_ file: Data, width: Int, height: Int) throws -> [UInt8] {
    guard let source = CGImageSourceCreateWithData(file as CFData, nil),
        let facts = CGImageSourceCopyPropertiesAtIndex(source, 0, nil) as? [CFString: Any],
        let wide = facts[kCGImagePropertyPixelWidth] as? Int,
        let high = facts[kCGImagePropertyPixelHeight] as? Int
    else { throw FastcapError("not a picture that this phone reads") }
    let orientation = facts[kCGImagePropertyOrientation] as? Int ?? 1
    let isJpeg = CGImageSourceGetType(source) as String? == "public.jpeg"
    let shrink = isJpeg
        ? jpegShrink(width: wide, height: high, modelWidth: width, modelHeight: height, orientation: orientation) : 1
    if wide * high / (shrink * shrink) > maxPixels {
        throw FastcapError("\(wide)x\(high) pixels are too many for this phone")
    }
    let options = shrink > 1 ? [kCGImageSourceSubsampleFactor: shrink] as CFDictionary : nil
    guard let image = CGImageSourceCreateImageAtIndex(source, 0, options) else {
        throw FastcapError("a damaged picture")
    }
    let left = image.width < wide ? 1 : shrink // what ImageIO has not shrunk
    return squash(try decoded(image), width: width, height: height, orientation: orientation, shrink: left)
}

/// The pixels of an image in sRGB, on white.
private func decoded(_ image: CGImage) throws -> Picture {
    let (width, height) = (image.width, image.height)
    var rgbx = [UInt8](repeating: 255, count: 4 * width * height)
    let isDrawn = rgbx.withUnsafeMutableBytes { bytes -> Bool in
        guard let sRGB = CGColorSpace(name: CGColorSpace.sRGB),
            let context = CGContext(
                data: bytes.baseAddress, width: width, height: height, bitsPerComponent: 8, bytesPerRow: 4 * width,
                space: sRGB, bitmapInfo: CGImageAlphaInfo.noneSkipLast.rawValue)
        else { return false }
        context.interpolationQuality = .none
        context.draw(image, in: CGRect(x: 0, y: 0, width: width, height: height))
        return true
    }
    guard isDrawn else { throw FastcapError("not enough memory for \(width)x\(height) pixels") }
    return Picture(width: width, height: height, rgbx: rgbx)
}
