import FastcapCore
import PhotosUI
import SwiftUI

@main
struct FastcapApp: App {
    var body: some Scene {
        WindowGroup { ContentView() }
    }
}

/// The model, which serves one task at a time.
actor Describer {
    private var captioner: Captioner?
    private var pixels: [UInt8]?

    /// The model in the app's folder `model`, and whether it answers questions.
    func load() throws -> (name: String, answers: Bool) {
        guard let folder = Bundle.main.url(forResource: "model", withExtension: nil) else {
            throw FastcapError("the app has no folder named model")
        }
        let loaded = try Captioner(folder) { try OnnxGraph($0) }
        captioner = loaded
        return (loaded.name, loaded.answers)
    }

    /// Takes the photo that all that follows is about.
    func take(_ file: Data) throws {
        pixels = nil
        let model = try ready()
        pixels = try readPhoto(file, width: model.modelWidth, height: model.modelHeight)
    }

    func caption(_ length: String) throws -> Said {
        try ready().caption(photo(), length: length)
    }

    func ask(_ question: String) throws -> Said {
        try ready().ask(photo(), question)
    }

    private func ready() throws -> Captioner {
        guard let captioner else { throw FastcapError("the model is not loaded yet") }
        return captioner
    }

    private func photo() throws -> [UInt8] {
        guard let pixels else { throw FastcapError("Choose a photo first.") }
        return pixels
    }
}

/// One screen: a photo from the camera or the gallery, its caption in three lengths, and questions about it.
struct ContentView: View {
    @State private var describer = Describer()
    @State private var said = "Loading the model."
    @State private var picked: PhotosPickerItem?
    @State private var photo: UIImage?
    @State private var question = ""
    @State private var answers = false
    @State private var shootsPhoto = false

    var body: some View {
        ScrollView {
            VStack(spacing: 16) {
                HStack {
                    Button("Camera") { shootsPhoto = true }
                        .disabled(!UIImagePickerController.isSourceTypeAvailable(.camera))
                    PhotosPicker("Gallery", selection: $picked, matching: .images)
                }
                if let photo {
                    Image(uiImage: photo).resizable().scaledToFit().accessibilityLabel(said)
                }
                Text(said).font(.title2)
                HStack {
                    ForEach(["short", "normal", "long"], id: \.self) { length in
                        Button(length) { work { try await describer.caption(length) } }
                    }
                }
                if answers {
                    HStack {
                        TextField("Is there a dog?", text: $question).textFieldStyle(.roundedBorder)
                        Button("Ask") { work { try await describer.ask(question) } }
                    }
                }
            }
            .buttonStyle(.bordered)
            .padding()
        }
        .task { await load() }
        .onChange(of: picked) { item in
            Task {
                if let file = try? await item?.loadTransferable(type: Data.self) { take(file) }
            }
        }
        .sheet(isPresented: $shootsPhoto) { Camera { take($0) } }
    }

    private func load() async {
        do {
            let model = try await describer.load()
            answers = model.answers
            said = "Model \(model.name). Choose a photo: it does not leave this phone."
        } catch {
            said = error.localizedDescription
        }
    }

    private func take(_ file: Data) {
        photo = UIImage(data: file)
        work {
            try await describer.take(file)
            return try await describer.caption("normal")
        }
    }

    /// Does a job behind the screen, and shows what it says.
    private func work(_ job: @escaping () async throws -> Said) {
        Task { @MainActor in
            do {
                let found = try await job()
                said = "\(found.text) (\(Int((100 * found.confidence).rounded())) %)"
            } catch {
                said = error.localizedDescription
            }
        }
    }
}

/// The camera of iOS; hands over the photo as a JPEG, which is written nowhere.
struct Camera: UIViewControllerRepresentable {
    let taken: (Data) -> Void
    @Environment(\.dismiss) private var dismiss

    func makeUIViewController(context: Context) -> UIImagePickerController {
        let camera = UIImagePickerController()
        camera.sourceType = .camera
        camera.delegate = context.coordinator
        return camera
    }

    func updateUIViewController(_ camera: UIImagePickerController, context: Context) {}

    func makeCoordinator() -> Coordinator {
        Coordinator(taken: taken, dismiss: { dismiss() })
    }

    final class Coordinator: NSObject, UIImagePickerControllerDelegate, UINavigationControllerDelegate {
        private let taken: (Data) -> Void
        private let dismiss: () -> Void

        init(taken: @escaping (Data) -> Void, dismiss: @escaping () -> Void) {
            self.taken = taken
            self.dismiss = dismiss
        }

        func imagePickerController(
            _ picker: UIImagePickerController,
            didFinishPickingMediaWithInfo info: [UIImagePickerController.InfoKey: Any]
        ) {
            let image = info[.originalImage] as? UIImage
            if let file = image?.jpegData(compressionQuality: 0.95) { taken(file) }
            dismiss()
        }

        func imagePickerControllerDidCancel(_ picker: UIImagePickerController) {
            dismiss()
        }
    }
}
