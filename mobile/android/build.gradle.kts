plugins {
    id("com.android.application") version "8.7.3"
    id("org.jetbrains.kotlin.android") version "2.0.21"
}

android {
    namespace = "fastcap.mobile"
    compileSdk = 35
    defaultConfig {
        applicationId = "fastcap.mobile"
        minSdk = 26 // ColorSpace
        targetSdk = 35
        versionCode = 1
        versionName = "1.0"
        testInstrumentationRunner = "androidx.test.runner.AndroidJUnitRunner"
    }
    compileOptions {
        sourceCompatibility = JavaVersion.VERSION_17
        targetCompatibility = JavaVersion.VERSION_17
    }
    kotlinOptions { jvmTarget = "17" }
    androidResources { noCompress += listOf("onnx", "data") } // weights do not shrink
    sourceSets["androidTest"].assets.srcDir("../golden")
    testOptions { unitTests.all { it.systemProperty("golden", file("../golden").path) } }
}

dependencies {
    implementation("com.microsoft.onnxruntime:onnxruntime-android:1.22.0")
    implementation("androidx.core:core:1.15.0") // FileProvider
    testImplementation("junit:junit:4.13.2")
    testImplementation("org.json:json:20240303") // what Android has by itself
    androidTestImplementation("androidx.test:runner:1.6.2")
    androidTestImplementation("androidx.test.ext:junit:1.2.1")
}
