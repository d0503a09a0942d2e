// swift-tools-version: 5.7
// All but the screen, the camera and the runtime: Foundation alone, so that it is tested on a Mac by `swift test`.
import PackageDescription

let package = Package(
    name: "FastcapCore",
    platforms: [.iOS(.v16), .macOS(.v12)],
    products: [.library(name: "FastcapCore", targets: ["FastcapCore"])],
    targets: [
        .target(name: "FastcapCore"),
        .testTarget(name: "FastcapCoreTests", dependencies: ["FastcapCore"]),
    ]
)
