package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/inspect"
)

func newCompletion(p *program) *cobra.Command {
	shells := []string{"bash", "zsh", "fish", "powershell"}
	return &cobra.Command{
		Use:   "completion {bash|zsh|fish|powershell}",
		Short: "Print a completion script for a shell",
		Long: `Completion prints a script that lets a shell complete wtinspect's commands,
flags, file names (of checkpoints and indexes), hf:// and ollama: models on this
machine and, after --match, the names of the tensors in the files on the
command line. It asks no server, so it knows only remote files that are in a cache.
Bash needs the package bash-completion, loaded before the script.`,
		Annotations: exitStatus(),
		Example: `  source <(wtinspect completion bash)
  wtinspect completion zsh > ~/.zfunc/_wtinspect
  wtinspect completion fish > ~/.config/fish/completions/wtinspect.fish`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return fmt.Errorf("one shell is needed: %s", strings.Join(shells, ", "))
			}
			return nil
		},
		ValidArgs: shells,
		RunE: func(cmd *cobra.Command, args []string) error {
			root := cmd.Root()
			switch args[0] {
			case "bash":
				return root.GenBashCompletionV2(p.stdout, true)
			case "zsh":
				return root.GenZshCompletion(p.stdout)
			case "fish":
				return root.GenFishCompletion(p.stdout, true)
			case "powershell":
				return root.GenPowerShellCompletionWithDesc(p.stdout)
			}
			return fmt.Errorf("no completion for %q; the shells are %s", args[0], strings.Join(shells, ", "))
		},
	}
}

// completePaths completes the names of files that a command can read, and of
// directories; and references, as far as this machine knows them.
func (p *program) completePaths(cmd *cobra.Command, _ []string, toComplete string) ([]string, cobra.ShellCompDirective) {
	if list := inspect.CompleteReference(cmd.Context(), p.getenv, toComplete); list != nil {
		return list, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
	}
	return []string{"safetensors", "gguf", "bin", "pt", "pth", "ckpt", "npz", "npy", "json"}, cobra.ShellCompDirectiveFilterFileExt
}

// caches returns a context in which what others have is read as far as a cache has it:
// nobody wants a server asked for what a word may be, nor waits for it.
func (p *program) caches(ctx context.Context) (_ context.Context, done func()) {
	return inspect.WithPlaces(ctx, &inspect.PlacesOptions{Getenv: p.getenv, Silent: true})
}

// completeTensors completes the names of the tensors in the paths given so far,
// a segment at a time while there are many.
func (p *program) completeTensors(cmd *cobra.Command, args []string, toComplete string) ([]string, cobra.ShellCompDirective) {
	if len(args) == 0 {
		args = []string{"."}
	}
	ctx, done := p.caches(cmd.Context())
	defer done()
	const many = 40
	seen := make(map[string]bool)
	var whole, heads []string
	for _, path := range args {
		rel, err := checkpoint.Open(ctx, path, &checkpoint.Options{NoConfig: true})
		if err != nil {
			continue
		}
		for _, c := range rel.Checkpoints {
			for _, t := range c.All() {
				rest, ok := strings.CutPrefix(t.Name, toComplete)
				if !ok || strings.ContainsFunc(t.Name, func(r rune) bool { return r <= ' ' || r == '\\' }) {
					continue
				}
				if len(whole) <= many {
					whole = append(whole, strings.Clone(t.Name))
				}
				head := t.Name
				if dot := strings.IndexByte(rest, '.'); dot >= 0 {
					head = t.Name[:len(toComplete)+dot+1]
				}
				if !seen[head] {
					head = strings.Clone(head)
					seen[head] = true
					heads = append(heads, head)
				}
			}
		}
		rel.Close()
	}
	if len(whole) > many {
		return heads, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
	}
	return whole, cobra.ShellCompDirectiveNoFileComp
}
