package fastcap.mobile

import ai.onnxruntime.OnnxJavaType
import ai.onnxruntime.OnnxTensor
import ai.onnxruntime.OrtEnvironment
import ai.onnxruntime.OrtSession
import java.io.File
import java.nio.ByteBuffer
import java.nio.FloatBuffer
import java.nio.LongBuffer

/** A graph run by ONNX Runtime on the CPU: the int8 files of a model directory as they are. */
class OnnxGraph(file: File, threads: Int = 2) : Graph {
    private val environment = OrtEnvironment.getEnvironment()
    private val options = OrtSession.SessionOptions().apply { setIntraOpNumThreads(threads) }
    private val session = environment.createSession(file.path, options)

    override val inputs = session.inputNames.toList()
    private val outputs = session.outputNames.toList()

    override fun run(feeds: Map<String, Tensor>): Map<String, Tensor> {
        val given = feeds.mapValues { (_, tensor) -> native(tensor) }
        try {
            val result = session.run(given)
            try {
                return outputs.associateWith { name -> copied(result.get(name).get() as OnnxTensor) }
            } finally {
                result.close()
            }
        } finally {
            given.values.forEach { it.close() }
        }
    }

    private fun native(tensor: Tensor): OnnxTensor {
        val data = tensor.data
        if (data is LongArray) return OnnxTensor.createTensor(environment, LongBuffer.wrap(data), tensor.shape)
        if (data is FloatArray) return OnnxTensor.createTensor(environment, FloatBuffer.wrap(data), tensor.shape)
        val bytes = data as ByteArray
        val buffer = ByteBuffer.allocateDirect(bytes.size).put(bytes)
        buffer.rewind()
        return OnnxTensor.createTensor(environment, buffer, tensor.shape, OnnxJavaType.UINT8)
    }

    private fun copied(value: OnnxTensor): Tensor {
        val shape = value.info.shape
        if (value.info.type == OnnxJavaType.INT64) {
            val longs = value.longBuffer
            return Tensor(shape, LongArray(longs.remaining()).also { longs.get(it) })
        }
        val floats = value.floatBuffer
        return Tensor(shape, FloatArray(floats.remaining()).also { floats.get(it) })
    }
}
