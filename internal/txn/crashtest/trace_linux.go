//go:build amd64 || arm64

package crashtest

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A Verdict says what becomes of a program that was stopped.
type Verdict int

const (
	// Go lets the call be made.
	Go Verdict = iota
	// Kill ends the program before the call.
	Kill
	// Half ends the program in the middle of the call: half of a buffer is
	// written. Other calls are made whole.
	Half
	// Int and Term send it a signal, and let the call be made.
	Int
	Term
)

// A Call is one that is about to be made, of those that change something.
type Call struct {
	N    int    // from 0
	Name string // "pwrite", "renameat2", …
	Path string // of the file, or of the first of two
}

// A Result is how a program ended.
type Result struct {
	Status syscall.WaitStatus
	// Calls is how many there were.
	Calls int
}

// Killed reports whether the program was killed.
func (r Result) Killed() bool { return r.Status.Signaled() && r.Status.Signal() == unix.SIGKILL }

// ErrNoTrace says that this system lets no process trace another.
var ErrNoTrace = errors.New("processes cannot be traced here")

// Run runs a command and asks at before each of its calls that change files
// below a directory. The program stands still meanwhile, apart from calls that
// other threads of it are in. The command's Stdin, Stdout and Stderr must be
// files or nil.
func Run(cmd *exec.Cmd, below string, at func(Call) Verdict) (Result, error) {
	// Whoever starts a process this way is the only thread that may handle it.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	attr := syscall.SysProcAttr{}
	if cmd.SysProcAttr != nil {
		attr = *cmd.SysProcAttr
	}
	attr.Ptrace = true
	attr.Setpgid = true // its threads are waited for, and no other process
	cmd.SysProcAttr = &attr
	if err := cmd.Start(); err != nil {
		if errors.Is(err, unix.EPERM) || errors.Is(err, unix.ENOSYS) {
			err = errors.Join(ErrNoTrace, err)
		}
		return Result{}, err
	}
	t := &tracer{pid: cmd.Process.Pid, below: below, at: at, killing: map[int]bool{}}
	err := t.run()
	_ = cmd.Wait() // it was waited for; this closes the files
	return t.result, err
}

type tracer struct {
	pid     int
	below   string
	at      func(Call) Verdict
	result  Result
	killing map[int]bool // threads whose present call is their last
}

func (t *tracer) run() error {
	var ws unix.WaitStatus
	if _, err := wait(t.pid, unix.WALL, &ws); err != nil {
		return err
	}
	const options = unix.PTRACE_O_TRACESYSGOOD | unix.PTRACE_O_TRACECLONE | unix.PTRACE_O_TRACEFORK | unix.PTRACE_O_TRACEVFORK | unix.PTRACE_O_EXITKILL
	if err := unix.PtraceSetOptions(t.pid, options); err != nil {
		_ = unix.Kill(t.pid, unix.SIGKILL)
		_, _ = wait(t.pid, unix.WALL, &ws)
		return errors.Join(ErrNoTrace, err)
	}
	known := map[int]bool{t.pid: true}
	tid, sig := t.pid, 0
	for {
		// It fails for a thread that is gone, whose end is yet to be told.
		_ = unix.PtraceSyscall(tid, sig)
		var err error
		if tid, err = wait(-t.pid, unix.WALL|unix.WNOTHREAD, &ws); err != nil {
			return err
		}
		sig = 0
		switch {
		case ws.Exited() || ws.Signaled():
			if tid == t.pid {
				t.result.Status = syscall.WaitStatus(ws)
				return nil
			}
		case ws.StopSignal() == unix.SIGTRAP|0x80:
			t.stopped(tid)
		case ws.StopSignal() == unix.SIGTRAP && ws.TrapCause() > 0:
		case ws.StopSignal() == unix.SIGSTOP && !known[tid]:
		default:
			sig = int(ws.StopSignal())
		}
		known[tid] = true
	}
}

func wait(pid, options int, ws *unix.WaitStatus) (int, error) {
	for {
		got, err := unix.Wait4(pid, ws, options, nil)
		if !errors.Is(err, unix.EINTR) {
			return got, err
		}
	}
}

// A syscallInfo is linux/ptrace.h's struct ptrace_syscall_info.
type syscallInfo struct {
	Op     uint8
	_      [3]uint8
	Arch   uint32
	IP, SP uint64
	Nr     uint64
	Args   [6]uint64
	_      [8]uint64
}

// stopped handles the beginning or the end of a call.
func (t *tracer) stopped(tid int) {
	const getSyscallInfo, entry = 0x420e, 1
	var info syscallInfo
	if _, _, errno := unix.Syscall6(unix.SYS_PTRACE, getSyscallInfo, uintptr(tid), unsafe.Sizeof(info), uintptr(unsafe.Pointer(&info)), 0, 0); errno != 0 {
		return
	}
	if info.Op != entry {
		if t.killing[tid] {
			_ = unix.Kill(t.pid, unix.SIGKILL)
		}
		return
	}
	name, path := t.changing(int(info.Nr), &info.Args)
	if name == "" {
		return
	}
	c := Call{t.result.Calls, name, path}
	t.result.Calls++
	switch t.at(c) {
	case Kill:
		_ = unix.Kill(t.pid, unix.SIGKILL)
	case Half:
		if name == "pwrite" || name == "write" {
			t.halfWrite(name, &info.Args)
			_ = unix.Kill(t.pid, unix.SIGKILL)
		} else {
			t.killing[tid] = true
		}
	case Int:
		_ = unix.Kill(t.pid, unix.SIGINT)
	case Term:
		_ = unix.Kill(t.pid, unix.SIGTERM)
	}
}

// fds are the calls that change the file of their first argument.
var fds = map[int]string{
	unix.SYS_WRITE: "write", unix.SYS_PWRITE64: "pwrite", unix.SYS_FSYNC: "fsync", unix.SYS_FTRUNCATE: "ftruncate",
	unix.SYS_FALLOCATE: "fallocate", unix.SYS_FCHMOD: "fchmod", unix.SYS_FCHOWN: "fchown", unix.SYS_FSETXATTR: "fsetxattr",
	unix.SYS_COPY_FILE_RANGE: "copy_file_range", unix.SYS_IOCTL: "clone", unix.SYS_FLOCK: "flock",
}

// names are those that change what a name stands for in the directory of their
// first argument.
var names = map[int]string{
	unix.SYS_OPENAT: "create", unix.SYS_RENAMEAT2: "renameat2", unix.SYS_RENAMEAT: "renameat", unix.SYS_UNLINKAT: "unlinkat",
	unix.SYS_MKDIRAT: "mkdirat", unix.SYS_SYMLINKAT: "symlinkat", unix.SYS_LINKAT: "linkat",
}

// changing names a call if it changes something below the directory.
func (t *tracer) changing(nr int, args *[6]uint64) (name, path string) {
	if name = fds[nr]; name != "" {
		const ficlonerange = 0x4020940d
		if name == "clone" && args[1] != ficlonerange {
			return "", ""
		}
		path = t.fd(args[0])
	} else if name = names[nr]; name != "" {
		if nr == unix.SYS_OPENAT && args[2]&(unix.O_CREAT|unix.O_TRUNC) == 0 {
			return "", ""
		}
		if path = t.text(args[1]); !filepath.IsAbs(path) {
			path = filepath.Join(t.fd(args[0]), path)
		}
	}
	if !strings.HasPrefix(path+"/", t.below+"/") || strings.HasSuffix(path, " (deleted)") {
		return "", ""
	}
	return name, path
}

func (t *tracer) fd(fd uint64) string {
	link := fmt.Sprintf("/proc/%d/fd/%d", t.pid, int32(fd))
	if int32(fd) == unix.AT_FDCWD {
		link = fmt.Sprintf("/proc/%d/cwd", t.pid)
	}
	path, _ := os.Readlink(link)
	return path
}

// memory reads what the program has in memory.
func (t *tracer) memory(p []byte, addr uint64) (int, error) {
	f, err := os.Open(fmt.Sprintf("/proc/%d/mem", t.pid))
	if err != nil {
		return 0, err
	}
	defer f.Close()
	return f.ReadAt(p, int64(addr))
}

// text reads a string that ends with NUL.
func (t *tracer) text(addr uint64) string {
	buf := make([]byte, unix.PathMax)
	n, _ := t.memory(buf, addr)
	s, _, _ := strings.Cut(string(buf[:n]), "\x00")
	return s
}

// halfWrite writes the first half of what is about to be written.
func (t *tracer) halfWrite(name string, args *[6]uint64) {
	buf := make([]byte, args[2]/2)
	if _, err := t.memory(buf, args[1]); err != nil {
		return
	}
	f, err := os.OpenFile(fmt.Sprintf("/proc/%d/fd/%d", t.pid, int32(args[0])), os.O_WRONLY, 0)
	if err != nil {
		return
	}
	defer f.Close()
	off := int64(args[3])
	if name == "write" {
		off = 0
		info, err := os.ReadFile(fmt.Sprintf("/proc/%d/fdinfo/%d", t.pid, int32(args[0])))
		if err == nil {
			_, _ = fmt.Sscanf(string(info), "pos:%d", &off)
		}
	}
	_, _ = f.WriteAt(buf, off)
}

// An Event is what a journal of a transaction said when a program was stopped.
type Event string

// The phases of a transaction, by its journal.
const (
	Before  Event = "before the journal"
	Writing Event = "before the mark"
	Marked  Event = "after the mark"
)

// Phase reads how far a transaction has come out of its journal.
func Phase(journal string) Event {
	b, err := os.ReadFile(journal)
	const magic = "wtinspect journal 2\n"
	if err != nil || !strings.HasPrefix(string(b), magic) || len(b) < len(magic)+8 {
		return Before
	}
	const sum, mark = 32, "forward\n"
	end := uint64(len(magic)) + 8 + binary.LittleEndian.Uint64(b[len(magic):]) + sum
	if uint64(len(b)) >= end+uint64(len(mark))+sum && string(b[end:end+uint64(len(mark))]) == mark {
		return Marked
	}
	return Writing
}
