package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v4"

	"github.com/wtinspect/wtinspect/internal/fixture"
)

// An actionRunner runs the action as a runner of GitHub does: its inputs, its event and
// its files are variables, and a step that fails is the last.
type actionRunner struct {
	t *testing.T
	// action is a copy of the action, workspace the repository, temp RUNNER_TEMP, and
	// releases what is released.
	action, workspace, temp, releases string
	event                             map[string]string // github.event_name and the like
	env                               []string
}

// An actionResult is what a run leaves.
type actionResult struct {
	code                int
	log, summary, sarif string
}

const (
	actionVersion = "1.2.3"
	actionArchive = "wtinspect_1.2.3_linux_amd64.tar.gz"
)

// newActionRunner makes a workspace, and a release that the action knows the digest of:
// its program runs the one that is tested.
func newActionRunner(t *testing.T) *actionRunner {
	t.Helper()
	if runtime.GOOS == "windows" {
		t.Skip("the release that this test installs is a shell script, which Windows does not run")
	}
	for _, name := range []string{"bash", "curl", "tar", "git"} {
		if _, err := exec.LookPath(name); err != nil {
			t.Skipf("the action needs %s: %v", name, err)
		}
	}
	dir := t.TempDir()
	r := &actionRunner{
		t: t, action: filepath.Join(dir, "action"), workspace: filepath.Join(dir, "work space"), temp: filepath.Join(dir, "temp"),
		event: map[string]string{"github.event_name": "workflow_dispatch"},
	}
	r.releases = filepath.Join(dir, "releases")
	for _, d := range []string{r.workspace, r.temp, filepath.Join(r.releases, "v"+actionVersion)} {
		r.must(os.MkdirAll(d, 0o755))
	}
	root := filepath.Join("..", "..")
	r.must(os.CopyFS(filepath.Join(r.action, ".github", "action"), os.DirFS(filepath.Join(root, ".github", "action"))))
	text, err := os.ReadFile(filepath.Join(root, "action.yml"))
	r.must(err)
	r.must(os.WriteFile(filepath.Join(r.action, "action.yml"), text, 0o644))

	archive := tarOf(t, "wtinspect", "#!/bin/sh\nexec '"+buildBinary(t)+"' \"$@\"\n")
	r.must(os.WriteFile(filepath.Join(r.releases, "v"+actionVersion, actionArchive), archive, 0o644))
	r.must(os.WriteFile(filepath.Join(r.action, ".github", "action", "SHA256SUMS"),
		fmt.Appendf(nil, "# digests\n%x  %s\n%064d  wtinspect_1.2.3_linux_arm64.tar.gz\n", sha256.Sum256(archive), actionArchive, 0), 0o644))
	r.env = []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "GIT_CONFIG_NOSYSTEM=1", "RUNNER_OS=Linux", "RUNNER_ARCH=X64",
		"RUNNER_TEMP=" + r.temp, "GITHUB_ACTION_PATH=" + r.action,
	}
	return r
}

func (r *actionRunner) must(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
}

func tarOf(t *testing.T, name, text string) []byte {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	w := tar.NewWriter(z)
	err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o755, Size: int64(len(text))})
	if err == nil {
		_, err = w.Write([]byte(text))
	}
	if err := errors.Join(err, w.Close(), z.Close()); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// weights writes a checkpoint into the workspace, with a name twice where it is bad.
func (r *actionRunner) weights(path string, bad bool) {
	r.t.Helper()
	text := "meta format pt\ntensor a F32 [2]\n"
	if bad {
		text += "tensor a F32 [2]\n"
	}
	path = filepath.Join(r.workspace, filepath.FromSlash(path))
	r.must(os.MkdirAll(filepath.Dir(path), 0o755))
	r.must(fixture.Write(path, text))
}

func (r *actionRunner) git(args ...string) string {
	r.t.Helper()
	cmd := exec.Command("git", append([]string{"-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "init.defaultBranch=main", "-c", "commit.gpgsign=false"}, args...)...)
	cmd.Dir, cmd.Env = r.workspace, r.env
	out, err := cmd.CombinedOutput()
	if err != nil {
		r.t.Fatalf("git %v: %v\n%s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

// commit commits everything, and returns the commit.
func (r *actionRunner) commit() string {
	r.git("add", "-A")
	r.git("commit", "-q", "-m", "change")
	return r.git("rev-parse", "HEAD")
}

var actionExpression = regexp.MustCompile(`\$\{\{(.*?)\}\}`)

// run runs the action.
func (r *actionRunner) run(inputs map[string]string) actionResult {
	r.t.Helper()
	var action struct {
		Inputs map[string]struct{ Default string }
		Runs   struct {
			Steps []struct {
				ID, Run string
				Env     map[string]string
			}
		}
	}
	text, err := os.ReadFile(filepath.Join(r.action, "action.yml"))
	r.must(err)
	r.must(yaml.Load(text, &action))

	known := map[string]string{}
	for name, v := range r.event {
		known[name] = v
	}
	for name, input := range action.Inputs {
		known["inputs."+name] = input.Default
	}
	known["inputs.releases"] = "file://" + r.releases
	for name, v := range inputs {
		if _, ok := action.Inputs[name]; !ok {
			r.t.Fatalf("the action has no input %s", name)
		}
		known["inputs."+name] = v
	}
	eval := func(s string) string {
		return actionExpression.ReplaceAllStringFunc(s, func(e string) string {
			for name := range strings.SplitSeq(actionExpression.FindStringSubmatch(e)[1], "||") {
				if v := known[strings.TrimSpace(name)]; v != "" {
					return v
				}
			}
			return ""
		})
	}

	var res actionResult
	summary := filepath.Join(r.t.TempDir(), "summary")
	for _, step := range action.Runs.Steps {
		output := filepath.Join(r.t.TempDir(), "output")
		// As the runner calls what has the shell bash:
		// https://docs.github.com/actions/reference/workflows-and-actions/workflow-syntax#jobsjob_idstepsshell
		cmd := exec.Command("bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step.Run)
		cmd.Dir = r.workspace
		cmd.Env = append(slices.Clone(r.env), "GITHUB_OUTPUT="+output, "GITHUB_STEP_SUMMARY="+summary)
		for name, v := range step.Env {
			cmd.Env = append(cmd.Env, name+"="+eval(v))
		}
		if sha, ok := r.event["github.sha"]; ok {
			cmd.Env = append(cmd.Env, "GITHUB_SHA="+sha)
		}
		log, err := cmd.CombinedOutput()
		res.log += string(log)
		if e, ok := errors.AsType[*exec.ExitError](err); ok {
			res.code = e.ExitCode()
		} else if err != nil {
			r.t.Fatal(err)
		}
		written, _ := os.ReadFile(output)
		for line := range strings.Lines(string(written)) {
			name, v, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "=")
			known["steps."+step.ID+".outputs."+name] = v
		}
		if res.code != 0 {
			break
		}
	}
	text, _ = os.ReadFile(summary)
	res.summary, res.sarif = string(text), known["steps.check.outputs.sarif"]
	return res
}

// want checks the exit code and that the log has every text.
func (res actionResult) want(t *testing.T, code int, texts ...string) {
	t.Helper()
	if res.code != code {
		t.Errorf("exit %d, want %d:\n%s", res.code, code, res.log)
	}
	for _, text := range texts {
		if !strings.Contains(res.log, text) {
			t.Errorf("the log has no %q:\n%s", text, res.log)
		}
	}
}

func (res actionResult) lacks(t *testing.T, text string) {
	t.Helper()
	if strings.Contains(res.log, text) {
		t.Errorf("the log has %q:\n%s", text, res.log)
	}
}

// Weights anywhere in the repository are judged, and the findings are annotations, a
// summary and SARIF.
func TestAction(t *testing.T) {
	t.Parallel()
	r := newActionRunner(t)
	res := r.run(nil)
	res.want(t, 2, "::error title=not checked::.: no weights")
	if !strings.Contains(res.summary, "could not be checked") {
		t.Errorf("summary %q", res.summary)
	}

	r.weights("models/good/model.safetensors", false)
	res = r.run(nil)
	res.want(t, 0, "no findings in 1 checkpoint")

	r.weights("models/bad one/model.safetensors", true)
	res = r.run(nil)
	res.want(t, 1, "::error file=models/bad one/model.safetensors,title=WT106 duplicate-name::", "1 of 2 releases failed")
	if !strings.Contains(res.summary, "### wtinspect: 1 error") || !strings.Contains(res.summary, "| WT106 duplicate-name |") {
		t.Errorf("summary %q", res.summary)
	}
	var sarif struct {
		Version string
		Runs    []struct{ Results []any }
	}
	text, err := os.ReadFile(res.sarif)
	r.must(err)
	r.must(json.Unmarshal(text, &sarif))
	if sarif.Version != "2.1.0" || len(sarif.Runs) != 1 || len(sarif.Runs[0].Results) != 1 {
		t.Errorf("SARIF %s", text)
	}

	r.run(map[string]string{"path": "models/good\n"}).want(t, 0, "in 1 checkpoint")
	r.run(map[string]string{"path": "models/bad one\r\nmodels/good"}).want(t, 1, "1 of 2 releases failed")
	r.run(map[string]string{"path": "models"}).want(t, 1, "1 of 2 releases failed")
	r.run(map[string]string{"path": "--help"}).want(t, 2, "--help: no such file")
	r.run(map[string]string{"args": "--select WT2  --max 0", "fail-on": "warning", "profile": "llama.cpp"}).want(t, 0, "no findings in 2 checkpoints")
	r.run(map[string]string{"fail-on": "sometimes"}).want(t, 2, "sometimes")

	r.must(os.WriteFile(filepath.Join(r.workspace, ".wtinspect.yaml"), []byte("version: 1\nignore:\n  - {rule: WT106, reason: known}\n"), 0o644))
	r.run(nil).want(t, 0, "1 accepted by exceptions")
}

// The program is what was released, or nothing runs.
func TestActionInstalls(t *testing.T) {
	t.Parallel()
	r := newActionRunner(t)
	r.weights("model.safetensors", false)
	sums := filepath.Join(r.action, ".github", "action", "SHA256SUMS")
	good, err := os.ReadFile(sums)
	r.must(err)
	digest := strings.Fields(string(good))[2]

	r.run(map[string]string{"version": "v1.2.3"}).want(t, 0)
	r.run(map[string]string{"version": "1.2.3", "sha256": digest}).want(t, 0)
	r.run(map[string]string{"version": "1.2.4"}).want(t, 2, "does not know the digest of wtinspect_1.2.4_linux_amd64.tar.gz")
	r.run(map[string]string{"version": "1.2.4", "sha256": digest}).want(t, 2, "could not be downloaded")
	r.run(map[string]string{"version": "latest"}).want(t, 2, "not of the form v1.2.3")
	r.run(map[string]string{"sha256": strings.ToUpper(digest)}).want(t, 2, "64 hexadecimal digits")
	r.run(map[string]string{"binary": buildBinary(t), "releases": "file:///nowhere"}).want(t, 0)
	r.run(map[string]string{"binary": "not/here"}).want(t, 2, "not a program")

	other := strings.Repeat("0", 64)
	res := r.run(map[string]string{"sha256": other})
	res.want(t, 2, "it is not the file that was released")
	res.lacks(t, "no findings")
	r.must(os.WriteFile(sums, []byte(strings.Replace(string(good), digest, other, 1)), 0o644))
	r.run(nil).want(t, 2, "it is not the file that was released")
	if left, _ := filepath.Glob(filepath.Join(r.temp, "wtinspect-*", actionArchive)); len(left) > 0 {
		t.Errorf("%v is left", left)
	}
	r.must(os.WriteFile(sums, []byte("# none yet\n"), 0o644))
	r.run(nil).want(t, 2, "has no release")

	r.env = append(r.env, "RUNNER_OS=Plan9")
	r.run(nil).want(t, 2, "Linux, macOS and Windows")
}

// What is judged is what a push or a pull request changes, where git tells.
func TestActionJudgesChanges(t *testing.T) {
	t.Parallel()
	r := newActionRunner(t)
	r.git("init", "-q")
	r.weights("old/model.safetensors", true)
	r.weights("new/model.safetensors", false)
	first := r.commit()
	r.must(os.WriteFile(filepath.Join(r.workspace, "new", "con fig é.txt"), []byte("{}"), 0o644))
	second := r.commit()

	push := func(before string) actionResult {
		r.event = map[string]string{"github.event_name": "push", "github.event.before": before, "github.sha": second}
		return r.run(nil)
	}
	push(first).want(t, 0, "have changed since "+first, "in 1 checkpoint")
	push(strings.Repeat("0", 40)).want(t, 1, "Judging all releases")
	push("").want(t, 1, "Judging all releases")
	push(strings.Repeat("a", 40)).want(t, 1, "Judging all releases")
	r.event["github.event.before"] = first
	r.run(map[string]string{"changed": "false"}).want(t, 1, "1 of 2 releases failed")
	r.run(map[string]string{"path": "old"}).want(t, 1)

	// A branch that changes old, while main goes on with new.
	r.git("checkout", "-q", "-b", "topic", first)
	r.weights("old/model.safetensors", false)
	topic := r.commit()
	r.git("checkout", "-q", "main")
	r.weights("new/model.safetensors", true)
	base := r.commit()
	pull := func() actionResult {
		r.event = map[string]string{"github.event_name": "pull_request", "github.event.pull_request.base.sha": base, "github.sha": r.git("rev-parse", "HEAD")}
		return r.run(nil)
	}
	r.git("checkout", "-q", topic)
	pull().want(t, 0, "have changed since "+first, "in 1 checkpoint")
	r.git("checkout", "-q", "main")
	r.git("merge", "-q", "--no-ff", "--no-edit", topic)
	pull().want(t, 0, "have changed since "+base, "in 1 checkpoint")

	// What pull_request_target checks out is the base.
	r.event["github.event_name"] = "pull_request_target"
	r.run(nil).want(t, 1, "Judging all releases")

	// A release that is deleted concerns nothing; nothing to check is no failure.
	before := r.git("rev-parse", "HEAD")
	r.must(os.RemoveAll(filepath.Join(r.workspace, "new")))
	second = r.commit()
	push(before).want(t, 0, "nothing to check")

	// Without a repository everything is judged.
	r.must(os.RemoveAll(filepath.Join(r.workspace, ".git")))
	r.weights("old/model.safetensors", true)
	push(before).want(t, 1, "Judging all releases")
}

// No input is run, and none begins a command of the workflow or another output.
func TestActionRunsNoInput(t *testing.T) {
	t.Parallel()
	r := newActionRunner(t)
	r.weights("model.safetensors", false)
	attacks := []string{
		"$(touch pwned)", "`touch pwned`", "; touch pwned;", "\"; touch pwned; \"", "'; touch pwned; '", "| touch pwned",
		"x\ntouch pwned\n", "x\nprogram=/bin/false", "x\n::add-mask::x", "${IFS}touch${IFS}pwned", "*",
	}
	if testing.Short() {
		attacks = attacks[:2]
	}
	for _, attack := range attacks {
		for _, inputs := range [][]string{{"version"}, {"sha256"}, {"releases"}, {"binary"}, {"path", "changed", "fail-on", "profile", "args"}} {
			set := map[string]string{}
			for _, input := range inputs {
				set[input] = attack
			}
			res := r.run(set)
			for _, dir := range []string{r.workspace, r.action, r.temp} {
				if _, err := os.Stat(filepath.Join(dir, "pwned")); err == nil {
					t.Fatalf("%v: %q was run", inputs, attack)
				}
			}
			for line := range strings.Lines(res.log) {
				if strings.HasPrefix(line, "::") && !strings.HasPrefix(line, "::error ") {
					t.Errorf("%v: %q is a command of the workflow: %s", inputs, attack, line)
				}
			}
			if res.code == 0 {
				t.Errorf("%v: %q is accepted:\n%s", inputs, attack, res.log)
			}
		}
	}
}

// snippet is the first code block of a page in a language.
func snippet(t *testing.T, page, language string) string {
	t.Helper()
	m := regexp.MustCompile("(?s)\n```" + language + "\n(.*?)\n```\n").FindStringSubmatch(readDoc(t, page))
	if m == nil {
		t.Fatalf("%s has no %s", page, language)
	}
	return m[1] + "\n"
}

// What the pages of other hosts run installs a release and fails when check does. In
// place of curl is a program that copies the release of the test.
func TestSnippetsRun(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("sha256sum"); err != nil {
		t.Skip("sha256sum, which the pages use, is not installed")
	}
	var gitLab struct {
		Weights struct {
			Before []string `yaml:"before_script"`
			Script []string
		}
	}
	if err := yaml.Load([]byte(snippet(t, "ci/gitlab.md", "yaml")), &gitLab); err != nil {
		t.Fatal(err)
	}
	jenkins := regexp.MustCompile(`(?s)sh '''(.*?)'''`).FindStringSubmatch(snippet(t, "ci/jenkins.md", "groovy"))
	if jenkins == nil {
		t.Fatal("no script in the Jenkinsfile")
	}
	makefile := strings.Replace(snippet(t, "ci/make.md", "make"), "DIGEST", "$(SHA)", 1)
	for _, c := range []struct{ name, script, changed string }{
		{"GitLab", strings.Join(append(gitLab.Weights.Before, gitLab.Weights.Script...), "\n"), "CI_MERGE_REQUEST_DIFF_BASE_SHA=HEAD~"},
		{"Jenkins", jenkins[1], "CHANGE_TARGET=main"},
		{"make", "cat >Makefile <<'EOF'\n" + makefile + "EOF\nmake -s check-weights SHA=$WTINSPECT_SHA256", ""},
		{"Hugging Face", strings.Replace(snippet(t, "ci/huggingface.md", "sh"), "cd /tmp", "set -- \"$PWD\"; cd \"$RUNNER_TEMP\"", 1), ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := newActionRunner(t)
			if _, err := exec.LookPath("make"); err != nil && c.name == "make" {
				t.Skip("make is not installed")
			}
			tools := t.TempDir()
			archive := filepath.Join(r.releases, "v"+actionVersion, actionArchive)
			r.must(os.WriteFile(filepath.Join(tools, "curl"), []byte("#!/bin/sh\n[ \"$1\" = -fsSL ] && shift || [ \"$1\" = -fsSLo ] || exit 9\ncp '"+archive+"' \"$2\"\n"), 0o755))
			text, err := os.ReadFile(archive)
			r.must(err)
			digest := fmt.Sprintf("%x", sha256.Sum256(text))
			run := func(env ...string) (string, int) {
				t.Helper()
				cmd := exec.Command("bash", "-e", "-c", c.script)
				cmd.Dir = r.workspace
				cmd.Env = append(append(slices.Clone(r.env), "PATH="+tools+":"+os.Getenv("PATH"), "WTINSPECT_SHA256="+digest), env...)
				log, err := cmd.CombinedOutput()
				if err != nil && cmd.ProcessState == nil {
					t.Fatal(err)
				}
				return string(log), cmd.ProcessState.ExitCode()
			}
			r.git("init", "-q")
			r.weights("old/model.safetensors", true)
			r.commit()
			r.git("update-ref", "refs/remotes/origin/main", "HEAD")
			r.weights("new/model.safetensors", false)
			r.commit()
			if log, code := run("WTINSPECT_SHA256=" + strings.Repeat("0", 64)); code == 0 || strings.Contains(log, "releases failed") {
				t.Errorf("another archive: exit %d\n%s", code, log)
			}
			if log, code := run(); code == 0 || !strings.Contains(log, "1 of 2 releases failed") {
				t.Errorf("a bad release: exit %d\n%s", code, log)
			}
			if c.changed != "" {
				if log, code := run(c.changed); code != 0 || !strings.Contains(log, "no findings in 1 checkpoint") {
					t.Errorf("a change of a good release: exit %d\n%s", code, log)
				}
			}
			r.weights("old/model.safetensors", false)
			if log, code := run(); code != 0 || !strings.Contains(log, "all 2 releases passed") {
				t.Errorf("good releases: exit %d\n%s", code, log)
			}
		})
	}
}

// What pages have in YAML can be read, and names actions by their commits; that of this
// repository is known after the page is written.
func TestSnippets(t *testing.T) {
	uses := regexp.MustCompile(`^([\w.-]+/[\w./-]+@[0-9a-f]{40}|wtinspect/wtinspect@COMMIT) # v\d+\.\d+\.\d+$`)
	for name, text := range pages(t) {
		for _, m := range regexp.MustCompile("(?s)\n```yaml\n(.*?)\n```\n").FindAllStringSubmatch(text, -1) {
			var any any
			if err := yaml.Load([]byte(m[1]), &any); err != nil {
				t.Errorf("%s: %v in\n%s", name, err, m[1])
			}
			for line := range strings.Lines(m[1]) {
				if _, action, ok := strings.Cut(line, "uses: "); ok && !uses.MatchString(strings.TrimSpace(action)) {
					t.Errorf("%s: %q is not pinned", name, strings.TrimSpace(line))
				}
			}
		}
	}
}
