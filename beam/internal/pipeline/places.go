package pipeline

import (
	"context"
	"sync"

	"github.com/wtinspect/wtinspect/inspect"
)

// Places say how references to other machines are read.
type Places struct {
	UserAgent             string
	InsecureHTTP, NoCache bool
	MaxBytes              int64
	Rate                  int
}

// opened are the places of this process: all steps that run in it keep to the limits of a
// server together.
var opened struct {
	sync.Mutex
	contexts map[Places]context.Context
	close    []func()
}

// in returns ctx with the places.
func (p Places) in(ctx context.Context) context.Context {
	opened.Lock()
	defer opened.Unlock()
	places, ok := opened.contexts[p]
	if !ok {
		var done func()
		places, done = inspect.WithPlaces(context.Background(), &inspect.PlacesOptions{
			UserAgent: p.UserAgent, InsecureHTTP: p.InsecureHTTP, NoCache: p.NoCache, MaxBytes: p.MaxBytes, Rate: p.Rate,
		})
		if opened.contexts == nil {
			opened.contexts = make(map[Places]context.Context)
		}
		opened.contexts[p] = places
		opened.close = append(opened.close, done)
	}
	return placed{ctx, places}
}

// Close ends the connections of this process, and keeps what was read of repositories for
// the next time.
func Close() {
	opened.Lock()
	defer opened.Unlock()
	for _, done := range opened.close {
		done()
	}
	opened.contexts, opened.close = nil, nil
}

// placed is a context with the values of another.
type placed struct {
	context.Context
	places context.Context
}

func (p placed) Value(key any) any {
	if v := p.places.Value(key); v != nil {
		return v
	}
	return p.Context.Value(key)
}
