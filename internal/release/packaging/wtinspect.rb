class Wtinspect < Formula
  desc "Inspect, compare, rename and judge model weights"
  homepage "{{.Repository}}"
  version "{{.Version}}"
  license "Apache-2.0"

  on_macos do
    on_arm do
      url "{{url "darwin" "arm64"}}"
      sha256 "{{sha256 "darwin" "arm64"}}"
    end
    on_intel do
      url "{{url "darwin" "amd64"}}"
      sha256 "{{sha256 "darwin" "amd64"}}"
    end
  end

  on_linux do
    on_arm do
      url "{{url "linux" "arm64"}}"
      sha256 "{{sha256 "linux" "arm64"}}"
    end
    on_intel do
      url "{{url "linux" "amd64"}}"
      sha256 "{{sha256 "linux" "amd64"}}"
    end
  end

  def install
    bin.install "wtinspect", "wtinspect-parquet"
    man1.install Dir["man/man1/*.1"]
    bash_completion.install "completions/wtinspect.bash" => "wtinspect"
    zsh_completion.install "completions/_wtinspect"
    fish_completion.install "completions/wtinspect.fish"
  end

  test do
    assert_match version.to_s, shell_output("#{bin}/wtinspect version")
  end
end
