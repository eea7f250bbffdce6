package remote

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"sync"

	"github.com/wtinspect/wtinspect/internal/source"
	"github.com/wtinspect/wtinspect/internal/stores"
)

// An ollamaPlace is the store of Ollama as a place: a model is a directory.
type ollamaPlace struct {
	store *stores.Ollama

	mu     sync.Mutex
	models map[stores.OllamaName]*stores.OllamaModel
}

func newOllama(store *stores.Ollama) *ollamaPlace {
	return &ollamaPlace{store: store, models: make(map[stores.OllamaName]*stores.OllamaModel)}
}

// Normalize implements [source.Normalizer].
func (o *ollamaPlace) Normalize(ref string) (string, error) {
	r, err := Parse(ref, "")
	return r.String(), err
}

// model finds the model of a reference.
func (o *ollamaPlace) model(ctx context.Context, ref string) (*stores.OllamaModel, string, error) {
	r, err := Parse(ref, "")
	if err != nil {
		return nil, "", err
	}
	name := stores.OllamaName{ID: r.ID, Tag: r.Rev}
	o.mu.Lock()
	defer o.mu.Unlock()
	m := o.models[name]
	if m == nil {
		if m, err = o.store.Model(ctx, name); err != nil {
			return nil, "", fmt.Errorf("%s: %w", r.Repo(), err)
		}
		o.models[name] = m
	}
	return m, r.Path, nil
}

// Stat implements [source.Place].
func (o *ollamaPlace) Stat(ctx context.Context, ref string) (fs.FileInfo, error) {
	m, path, err := o.model(ctx, ref)
	if err != nil {
		return nil, err
	}
	fi, err := m.Stat(path)
	return fi, of(ref, err)
}

// ReadDir implements [source.Place].
func (o *ollamaPlace) ReadDir(ctx context.Context, ref string) ([]fs.DirEntry, error) {
	m, path, err := o.model(ctx, ref)
	if err != nil {
		return nil, err
	}
	list, err := m.ReadDir(path)
	return list, of(ref, err)
}

// Open implements [source.Place].
func (o *ollamaPlace) Open(ctx context.Context, ref string) (source.Source, error) {
	m, path, err := o.model(ctx, ref)
	if err != nil {
		return nil, err
	}
	src, err := m.Open(ctx, path)
	if err != nil {
		return nil, of(ref, err)
	}
	return source.Named(src, ref), nil
}

// of puts a reference before an error that does not say what it is about.
func of(ref string, err error) error {
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		return &fs.PathError{Op: e.Op, Path: ref, Err: e.Err}
	}
	if err != nil {
		return fmt.Errorf("%s: %w", ref, err)
	}
	return nil
}
