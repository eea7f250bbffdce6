package main

import (
	"net"
	"testing"

	"golang.org/x/sys/unix"
)

// A socket that listens on all interfaces is found and bound to the one of this machine; from
// here it still takes connections.
func TestKeepLocal(t *testing.T) {
	lis, err := net.Listen("tcp", ":0")
	if err != nil {
		t.Fatal(err)
	}
	defer lis.Close()
	port := lis.Addr().(*net.TCPAddr).Port
	if err := keepLocal(port); err != nil {
		t.Skipf("a kernel since Linux 5.7, which lets everybody bind a socket to an interface, is missing: %v", err)
	}
	fd, err := listener(port)
	if err != nil {
		t.Fatal(err)
	}
	name, err := unix.GetsockoptString(fd, unix.SOL_SOCKET, unix.SO_BINDTODEVICE)
	if err != nil {
		t.Fatal(err)
	}
	i, err := net.InterfaceByName(name)
	if err != nil || i.Flags&net.FlagLoopback == 0 {
		t.Errorf("it is bound to %q, %v", name, err)
	}
	c, err := net.Dial("tcp", lis.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	if _, err := listener(1); err == nil {
		t.Error("somebody listens at port 1")
	}
}
