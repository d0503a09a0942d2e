package fastcap.mobile

import java.io.File
import org.junit.Assert.assertEquals
import org.junit.Test

class GoldenTest {
    @Test
    fun pixelsTextsAndAnswersAreThoseOfPython() {
        assertEquals(listOf<String>(), faults(File(System.getProperty("golden")!!)))
    }
}
