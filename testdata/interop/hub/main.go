// Command hub serves directories as repositories of the tests' hub: each argument is
// ID=DIR. It prints the address, and ends when its stdin does.
package main

import (
	"fmt"
	"io"
	"log"
	"os"
	"strings"

	"github.com/wtinspect/wtinspect/internal/hubtest"
)

func main() {
	hub, err := hubtest.Start()
	if err != nil {
		log.Fatal(err)
	}
	defer hub.Close()
	for _, arg := range os.Args[1:] {
		id, dir, ok := strings.Cut(arg, "=")
		if !ok {
			log.Fatalf("%s: ID=DIR is needed", arg)
		}
		if _, err := hub.Repo(id).CommitDir(dir); err != nil {
			log.Fatal(err)
		}
	}
	fmt.Println(hub.URL)
	_, _ = io.Copy(io.Discard, os.Stdin)
}
