package main

import (
	"errors"
	"fmt"
	"net"

	"golang.org/x/sys/unix"
)

// keepLocal has the socket that listens at a port of all interfaces accept what comes from this
// machine alone. Beam makes the socket and does not show it.
func keepLocal(port int) error {
	fd, err := listener(port)
	if err != nil {
		return err
	}
	list, err := net.Interfaces()
	if err != nil {
		return err
	}
	for _, i := range list {
		if i.Flags&net.FlagLoopback != 0 {
			return unix.BindToDevice(fd, i.Name) // which Linux lets everybody do since 5.7
		}
	}
	return errors.New("it has no loopback interface")
}

// listener finds the socket of this process that listens at a port.
func listener(port int) (int, error) {
	const most = 1024 // the program has just started
	for fd := range most {
		if listens, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ACCEPTCONN); err != nil || listens == 0 {
			continue
		}
		at, err := unix.Getsockname(fd)
		if err != nil {
			continue
		}
		switch at := at.(type) {
		case *unix.SockaddrInet4:
			if at.Port == port {
				return fd, nil
			}
		case *unix.SockaddrInet6:
			if at.Port == port {
				return fd, nil
			}
		}
	}
	return 0, fmt.Errorf("no socket listens at port %d", port)
}
