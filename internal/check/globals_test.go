package check

import (
	"slices"
	"testing"

	"github.com/wtinspect/wtinspect/pytorch"
)

// Every row has a known source and says what it must, and no name is in two lists.
func TestGlobalRows(t *testing.T) {
	rows := globals()
	type key struct{ module, name string }
	seen := make(map[key]bool)
	for _, list := range [][]globalRow{rows.Accepted, rows.Harmless, rows.Dangerous} {
		for _, row := range list {
			if row.Module == "" || len(row.By) == 0 || (row.Does != "") != (row.grade == dangerous) {
				t.Errorf("%s %s: it needs a module, a source, and what it does if it is dangerous", row.Module, row.Names)
			}
			for _, by := range row.By {
				if rows.Sources[by] == "" {
					t.Errorf("%s: no source %q", row.Module, by)
				}
			}
			if row.Names == nil && row.grade != dangerous {
				t.Errorf("%s: whole modules are never harmless", row.Module)
			}
			for _, name := range append(slices.Clone(row.Names), "")[:max(len(row.Names), 1)] {
				if k := (key{row.Module, name}); seen[k] {
					t.Errorf("%s.%s is in two rows", row.Module, name)
				} else {
					seen[k] = true
				}
			}
		}
	}
}

// A finding names the sources that list the name, which is not all that list something of its module.
func TestSourcesOfNames(t *testing.T) {
	for _, test := range []struct {
		module, name string
		by           []string
	}{
		{"torch.jit.unsupported_tensor_ops", "execWrapper", []string{"fickling", "picklescan"}},
		{"torch.jit", "load", []string{"fickling"}},
		{"logging", "FileHandler", []string{"fickling", "picklescan"}},
		{"logging", "getLogger", []string{"fickling"}},
		{"torch._inductor.codecache", "compile_file", []string{"fickling", "picklescan"}},
		{"torch._inductor.codecache", "other", []string{"fickling"}},
	} {
		if row := rowOf(test.module, test.name); row == nil || row.grade != dangerous || !slices.Equal(row.By, test.by) {
			t.Errorf("%s.%s: %+v, want %q", test.module, test.name, row, test.by)
		}
	}
}

// What a finding says of its source is a list, or the code itself.
func TestSourceText(t *testing.T) {
	for name, want := range map[[2]string]string{
		{"os", "system"}:             "listed by fickling, picklescan and ModelScan",
		{"typing", "get_type_hints"}: "by the code of CPython",
	} {
		if got := rowOf(name[0], name[1]).source(); got != want {
			t.Errorf("%s: %q", name, got)
		}
	}
}

func TestGradeOf(t *testing.T) {
	for _, test := range []struct {
		module, name string
		want         grade
	}{
		{"torch._utils", "_rebuild_tensor_v2", accepted},
		{"torch", "FloatStorage", accepted},
		{"torch", "float8_e4m3fn", accepted},
		{"torch", "float", accepted},
		{"torch", "floaty", unknown},
		{"torch.cuda", "HalfStorage", accepted},
		{"torch", "load", dangerous},
		{"torch", "FloatStorage._new_shared", unknown}, // an attribute is another name
		{"torch", "FloatStorage.from_file", dangerous},
		{"collections", "OrderedDict", accepted},
		{"collections", "OrderedDict.fromkeys", unknown},
		{"argparse", "Namespace", harmless},
		{"argparse", "ArgumentParser", unknown},
		{"builtins", "eval", dangerous},
		{"six", "exec_", dangerous},
		{"six", "text_type", unknown},
		{"six.moves.builtins", "eval", dangerous},
		{"past.builtins", "execfile", dangerous},
		{"setuptools._distutils.spawn", "spawn", dangerous},
		{"torch.utils.collect_env", "run_and_read_all", dangerous},
		{"hydra.utils", "_locate", dangerous},
		{"decorator", "FunctionMaker.create", dangerous},
		{"pkg_resources", "load_entry_point", dangerous},
		{"readline", "read_init_file", dangerous},
		{"torch.optim.adamw", "AdamW", harmless},
		{"torch.optim.lr_scheduler", "LambdaLR", unknown},
		{"builtins", "getattr", dangerous},
		{"builtins", "dict", harmless},
		{"builtins", "dict.get", unknown},
		{"os", "system", dangerous},
		{"os.path", "join", dangerous}, // below a module
		{"osmium", "system", unknown},
		{"uuid", "UUID", harmless}, // a name counts before its module
		{"uuid", "_get_command_stdout", dangerous},
		{"numpy.f2py.crackfortran", "getlincoef", dangerous},
		{"torch.utils.data", "os.system", dangerous}, // a path of names
		{"torch.utils.data", "dataset.os", unknown},  // no more than a name
		{"random", "_os.system", dangerous},          // as modules call what they import
		{"dataclasses", "builtins.exec", dangerous},
		{"torch", "serialization.load", dangerous}, // a module of the module
		{"torch", "hub.load", dangerous},
		{"torch", "nn.Linear", unknown},
		{"numpy", "float32", harmless},
		{"mypackage.os", "system", unknown}, // another module of that name
		{pytorch.Computed, "system", dangerous},
		{"os", pytorch.Computed, dangerous},
		{"torch.nn.modules.conv", "Conv1d", harmless},
		{"torch.nn.modules.container", "Sequential", harmless},
		{"torch.nn.modules.container", "warnings", unknown}, // a module that it imports
		{"torch.nn.modules.module", "Module.load_state_dict", unknown},
		{"__main__", "Config", unknown},
		{"torch._utils", "_rebuild_tensor_v2.__globals__.get", dangerous}, // attributes that lead everywhere
		{"collections", "OrderedDict.__init__", dangerous},
		{"torch._utils", "__builtins__", dangerous},
		{"copyreg", "__newobj__", unknown},
		{"models", "Net.Block", unknown}, // a class in a class
		{"typing", "get_type_hints", dangerous},
		{"typing", "Optional", unknown},
		{"optparse", "Values.read_file", dangerous},
		{"optparse", "Values", unknown},
		{"pathlib", "PosixPath", harmless},
		{"pathlib", "Path.write_text", dangerous},
		{"pathlib", "PosixPath.unlink", dangerous},
		{"pathlib", "PosixPath.joinpath", unknown},
		{"pathlib._local", "PosixPath", harmless}, // of Python 3.13
		{"pathlib._local", "WindowsPath.open", dangerous},
		{"tkinter.filedialog", "asksaveasfile", dangerous},
		{"concurrent.futures.process", "ProcessPoolExecutor", dangerous},
		{"gzip", "open", dangerous},
		{"gzip", "READ", unknown},
		{"types", "new_class", dangerous},
		{"types", "SimpleNamespace", harmless}, // a name counts before its module
		{"operator", "call", dangerous},
		{"functools", "singledispatch", dangerous},
		{"builtins", "type", dangerous},
		{"_socket", "socket", dangerous},
		{"_winapi", "CreateProcess", dangerous},
		{"_io", "open_code", dangerous},
		{"torch.multiprocessing.spawn", "spawn", dangerous},
		{"torch.utils.cpp_extension", "load", dangerous},
		{"numpy.ctypeslib", "load_library", dangerous},
		{"numpy.ctypeslib", "as_array", unknown},
		{"pandas", "read_pickle", dangerous},
		{"pandas", "DataFrame", unknown},
		{"yaml", "unsafe_load", dangerous},
		{"copyreg", "extension 7", dangerous}, // of EXT1
		{"copyreg", "add_extension", dangerous},
		{"copyreg", "_reconstructor", harmless},
		{"__builtin__", "eval", dangerous}, // in a protocol that does not call it builtins
		{"cPickle", "loads", dangerous},
		{"numpy", "load", dangerous},
		{"numpy", "ndarray", harmless},
		{"numpy", "ndarray.tofile", dangerous},
		{"numpy.testing", "runstring", dangerous},
		{"torch.fx.graph_module", "reduce_graph_module", dangerous},
		{"torch.fx.graph_module", "GraphModule", unknown},
		{"torch.package.package_importer", "PackageImporter", dangerous},
		{"torch.distributed.elastic.multiprocessing", "start_processes", dangerous},
		{"torch.serialization", "_get_layout", accepted},
		{"torch.serialization", "add_safe_globals", dangerous},
		{"weakref", "ref", unknown},
		{"hydra.utils", "instantiate", dangerous},
		{"", "", unknown},
	} {
		if got, _ := gradeOf(&pytorch.Global{Module: test.module, Name: test.name}); got != test.want {
			t.Errorf("%s %s: %d, want %d", test.module, test.name, got, test.want)
		}
	}
}

// Python 3.11 pickles the members of enumerations as calls of getattr (Lib/enum.py,
// __reduce_ex__): they are what their classes are, and what is called is not.
func TestGradeOfAttribute(t *testing.T) {
	class := &pytorch.Global{Module: "transformers.trainer_utils", Name: "SchedulerType"}
	unknownClass := &pytorch.Global{Module: "models", Name: "Kind"}
	for _, test := range []struct {
		g    pytorch.Global
		want grade
	}{
		{pytorch.Global{Module: class.Module, Name: "SchedulerType.LINEAR", Of: class}, harmless},
		{pytorch.Global{Module: class.Module, Name: "SchedulerType.LINEAR", Of: class, Calls: 1}, unknown},
		{pytorch.Global{Module: class.Module, Name: "SchedulerType.LINEAR"}, unknown},
		{pytorch.Global{Module: class.Module, Name: "SchedulerType.__class__", Of: class}, dangerous},
		{pytorch.Global{Module: "models", Name: "Kind.A", Of: unknownClass}, unknown},
		{pytorch.Global{Module: "os", Name: "path.join", Of: &pytorch.Global{Module: "os", Name: "path"}}, dangerous},
	} {
		if got, _ := gradeOf(&test.g); got != test.want {
			t.Errorf("%s: %d, want %d", &test.g, got, test.want)
		}
	}
}
