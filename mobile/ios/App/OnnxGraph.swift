import FastcapCore
import Foundation
import OnnxRuntimeBindings

/// A graph run by ONNX Runtime on the CPU: the int8 files of a model directory as they are.
final class OnnxGraph: Graph {
    let inputs: [String]
    private let outputs: Set<String>
    private let session: ORTSession
    private static let environment = Result { try ORTEnv(loggingLevel: .error) }

    init(_ file: URL, threads: Int32 = 2) throws {
        let options = try ORTSessionOptions()
        try options.setIntraOpNumThreads(threads)
        let environment = try OnnxGraph.environment.get()
        let session = try ORTSession(env: environment, modelPath: file.path, sessionOptions: options)
        inputs = try session.inputNames()
        outputs = Set(try session.outputNames())
        self.session = session
    }

    func run(_ feeds: [String: Tensor]) throws -> [String: Tensor] {
        let given = try feeds.mapValues { try value(of: $0) }
        let found = try session.run(withInputs: given, outputNames: outputs, runOptions: nil)
        return try found.mapValues { try tensor(of: $0) }
    }

    private func value(of tensor: Tensor) throws -> ORTValue {
        let shape = tensor.shape.map { NSNumber(value: $0) }
        switch tensor.numbers {
        case .uint8(let values):
            return try ORTValue(tensorData: data(of: values), elementType: .uInt8, shape: shape)
        case .int64(let values):
            return try ORTValue(tensorData: data(of: values), elementType: .int64, shape: shape)
        case .float(let values):
            return try ORTValue(tensorData: data(of: values), elementType: .float, shape: shape)
        }
    }

    private func data<Number>(of values: [Number]) -> NSMutableData {
        values.withUnsafeBytes { NSMutableData(data: Data($0)) }
    }

    private func tensor(of value: ORTValue) throws -> Tensor {
        let facts = try value.tensorTypeAndShapeInfo()
        let shape = facts.shape.map { $0.intValue }
        let data = try value.tensorData()
        // The bytes are the value's: it must live until they are copied.
        return withExtendedLifetime(value) {
            facts.elementType == .int64
                ? Tensor(shape, .int64(numbers(in: data, like: 0)))
                : Tensor(shape, .float(numbers(in: data, like: 0)))
        }
    }

    private func numbers<Number>(in data: NSMutableData, like zero: Number) -> [Number] {
        var values = [Number](repeating: zero, count: data.length / MemoryLayout<Number>.stride)
        values.withUnsafeMutableBytes { bytes in
            if let start = bytes.baseAddress { data.getBytes(start, length: bytes.count) }
        }
        return values
    }
}
