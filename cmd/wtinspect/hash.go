package main

import (
	"context"
	"errors"
	"io"

	"github.com/spf13/cobra"

	"github.com/wtinspect/wtinspect/inspect"
	"github.com/wtinspect/wtinspect/internal/answer"
	"github.com/wtinspect/wtinspect/internal/render"
)

// allAlgorithms is the value of --algorithm for every one.
const allAlgorithms = "all"

// wholeFiles is the flag that has files hashed, and not tensors.
const wholeFiles = "files"

type hashOptions struct {
	pathList
	reading
	selection
	output
	progress
	algorithm string
	contentID bool
	files     bool
	check     string
}

func newHash(p *program) *cobra.Command {
	var o hashOptions
	cmd := &cobra.Command{
		Use:   "hash [PATH...]",
		Short: "Print digests of the tensors' bytes, or check a manifest of them",
		Long: `Hash prints a digest of every tensor's bytes, as they are in the file, in the
format of llama.cpp's llama-gguf-hash, and a content id of every checkpoint.

The content id does not depend on names, shards, the order of
tensors or metadata, and changes with a single bit of a weight. It is the
SHA-256 of the tensors' sorted lines of dtype, shape and SHA-256;
docs/hash.md shows how to compute it with sha256sum.

With --files it prints the SHA-256 of the weight files instead, as sha256sum
does. If a hub lists a digest, it is used and the file is not read.

--check reads a manifest written by this command or by
llama-gguf-hash, and reports tensors that differ, are missing or are not listed.
Tensors are found by file and name, or by name alone if no file has
that name any more.`,
		Annotations: exitStatus("1  with --check, a tensor differs from the manifest, is missing, or is not listed"),
		Example: `  wtinspect hash model.gguf > model.manifest
  wtinspect hash --check model.manifest model.gguf
  wtinspect hash --content-id before/ after/
  wtinspect hash --algorithm xxh64 -f json model.safetensors
  wtinspect hash --files hf://org/name > SHA256SUMS`,
		ValidArgsFunction: p.completePaths,
		RunE: o.work(p, func(cmd *cobra.Command, paths []string) error {
			return runHash(cmd.Context(), p, &o, paths)
		}),
	}
	o.pathList.addFlags(cmd)
	o.output.addFlags(cmd, p, o.heads)
	o.selection.addFlags(cmd, p)
	o.addWorkFlags(cmd)
	o.progress.addFlags(cmd)
	p.addMaxBytes(cmd)
	f := cmd.Flags()
	words := []string{inspect.SHA256, inspect.XXH64, allAlgorithms}
	f.Var(newChoice(&o.algorithm, words...), "algorithm", "sha256, xxh64 (fast, but can be forged) or all")
	complete(cmd, "algorithm", words...)
	f.BoolVar(&o.contentID, "content-id", false, "print only the content id of each checkpoint")
	f.BoolVar(&o.files, wholeFiles, false, "print the SHA-256 of the weight files, as sha256sum does, or as listed by a hub")
	f.StringVar(&o.check, "check", "", "compare with the digests in `MANIFEST`")
	return cmd
}

// heads describes the columns of the table that is asked for.
func (o *hashOptions) heads(answer.Options) []render.Column {
	switch {
	case o.check != "":
		return answer.ManifestColumns()
	case o.files:
		return answer.FileColumns()
	}
	return answer.HashColumns(o.contentID, o.algorithms()...)
}

func (o *hashOptions) algorithms() []string {
	if o.algorithm == allAlgorithms {
		return []string{inspect.SHA256, inspect.XXH64}
	}
	return []string{o.algorithm}
}

func runHash(ctx context.Context, p *program, o *hashOptions, paths []string) error {
	if _, err := o.compile(); err != nil {
		return err
	}
	if o.contentID && (o.algorithm == inspect.XXH64 || o.check != "" || !o.All()) {
		return errors.New("--content-id is of all tensors and their SHA-256; it goes with no --algorithm, --check or choice of tensors")
	}
	if o.files {
		if o.contentID || o.algorithm == inspect.XXH64 || o.algorithm == allAlgorithms || o.check != "" || !o.All() {
			return errors.New("--files is of whole files and their SHA-256; it goes with no --algorithm, --content-id, --check or choice of tensors")
		}
		return runHashFiles(ctx, p, o, paths)
	}
	opts := inspect.HashOptions{Select: o.Selection, Algorithms: o.algorithms(), Workers: o.workers}
	if o.check != "" {
		var err error
		if opts.Manifest, err = inspect.ReadManifest(ctx, o.check); err != nil {
			return err
		}
	}
	in, err := o.open(ctx, p, paths)
	if err != nil {
		return err
	}
	defer in.Close()
	bar := o.jobMeter(p, "hash")
	opts.Progress = bar.update
	hashes, err := inspect.Hash(ctx, in.Set, &opts)
	bar.end()
	if err != nil {
		return err
	}
	in.say(p, hashes.Errors())
	var check *inspect.ManifestResult
	if opts.Manifest != nil {
		check = hashes.Check()
		if check.Summary.OK == 0 && check.Summary.Missing > 0 {
			p.note("%s: none of its tensors is here; the PATHs must be those that it was made of", o.check)
		}
	}
	err = o.answer(p, append(in.Paths(), o.check), func(w io.Writer, a answer.Options) error {
		if check != nil {
			return answer.Manifest(w, check, a)
		}
		return answer.Hash(w, hashes, o.contentID, a)
	})
	o.noteNone(p, len(hashes.Tensors), err)
	if err = in.finish(ctx, p, err); err == nil && check != nil && !check.OK() {
		return &exitError{exitFindings}
	}
	return err
}

func runHashFiles(ctx context.Context, p *program, o *hashOptions, paths []string) error {
	o.filesOnly, o.noConfig = true, true
	in, err := o.open(ctx, p, paths)
	if err != nil {
		return err
	}
	defer in.Close()
	bar := o.jobMeter(p, "hash")
	hashes, err := inspect.HashFiles(ctx, in.Set, &inspect.HashFilesOptions{Workers: o.workers, Progress: bar.update})
	bar.end()
	if err != nil {
		return err
	}
	in.say(p, hashes.Errors())
	for k, c := range in.Checkpoints {
		if n := hashes.Listed(k); n > 0 {
			p.note("%s: digests as the hub lists them, without reading the files: %d", c.Path, n)
		}
	}
	err = o.answer(p, in.Paths(), func(w io.Writer, a answer.Options) error { return answer.Files(w, hashes, a) })
	return in.finish(ctx, p, err)
}
