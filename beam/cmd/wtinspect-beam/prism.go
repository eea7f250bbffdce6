package main

import (
	"context"
	"fmt"
	"net"

	"github.com/apache/beam/sdks/v2/go/pkg/beam/options/jobopts"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/runners/prism"
)

// embed starts Prism in this process. It would listen on all interfaces, and start whatever
// program the job of whoever connects names: where the system allows it, only this machine
// can connect.
func (p *program) embed(ctx context.Context) error {
	port, err := freePort()
	if err != nil {
		return err
	}
	if _, err := prism.CreateJobServer(ctx, prism.Options{Port: port}); err != nil {
		return err
	}
	if err := keepLocal(port); err != nil {
		p.say("others can connect to port %d of this machine while this runs (%v); what they send is run", port, err)
	}
	*jobopts.Endpoint = fmt.Sprintf("localhost:%d", port)
	if *jobopts.EnvironmentType == "" {
		*jobopts.EnvironmentType = "LOOPBACK"
	}
	return nil
}

// freePort returns a port at which nobody listens.
func freePort() (int, error) {
	lis, err := net.Listen("tcp", "localhost:0")
	if err != nil {
		return 0, err
	}
	return lis.Addr().(*net.TCPAddr).Port, lis.Close()
}
