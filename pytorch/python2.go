package pytorch

import "strings"

// python2Modules are modules of Python 2 with their names in Python 3, and python2Names what has another
// name in its module, too (Lib/_compat_pickle.py, IMPORT_MAPPING and NAME_MAPPING; of exceptions all but
// StandardError are builtins of the same name). Python goes by them in pickles of protocols 0 to 2.
var (
	python2Modules = renamed(`exceptions builtins,
	BaseHTTPServer http.server, CGIHTTPServer http.server, ConfigParser configparser, Cookie http.cookies,
	Dialog tkinter.dialog, DocXMLRPCServer xmlrpc.server, FileDialog tkinter.filedialog, HTMLParser html.parser,
	Queue queue, ScrolledText tkinter.scrolledtext, SimpleDialog tkinter.simpledialog,
	SimpleHTTPServer http.server, SimpleXMLRPCServer xmlrpc.server, SocketServer socketserver, StringIO io,
	Tix tkinter.tix, Tkconstants tkinter.constants, Tkdnd tkinter.dnd, Tkinter tkinter, UserDict collections,
	UserList collections, UserString collections, __builtin__ builtins, _abcoll collections.abc,
	_elementtree xml.etree.ElementTree, _winreg winreg, anydbm dbm, cPickle pickle, cStringIO io,
	commands subprocess, cookielib http.cookiejar, copy_reg copyreg, dbhash dbm.bsd, dbm dbm.ndbm,
	dumbdbm dbm.dumb, dummy_thread _dummy_thread, gdbm dbm.gnu, htmlentitydefs html.entities, httplib http.client,
	markupbase _markupbase, repr reprlib, robotparser urllib.robotparser, test.test_support test.support,
	thread _thread, tkColorChooser tkinter.colorchooser, tkCommonDialog tkinter.commondialog,
	tkFileDialog tkinter.filedialog, tkFont tkinter.font, tkMessageBox tkinter.messagebox,
	tkSimpleDialog tkinter.simpledialog, ttk tkinter.ttk, urllib2 urllib.request, urlparse urllib.parse,
	whichdb dbm, xmlrpclib xmlrpc.client`)

	python2Names = renamed(`exceptions.StandardError builtins.Exception,
	UserDict.IterableUserDict collections.UserDict, __builtin__.basestring builtins.str,
	__builtin__.intern sys.intern, __builtin__.long builtins.int, __builtin__.reduce functools.reduce,
	__builtin__.unichr builtins.chr, __builtin__.unicode builtins.str, __builtin__.xrange builtins.range,
	_multiprocessing.Connection multiprocessing.connection.Connection, _socket.fromfd socket.fromfd,
	itertools.ifilter builtins.filter, itertools.ifilterfalse itertools.filterfalse, itertools.imap builtins.map,
	itertools.izip builtins.zip, itertools.izip_longest itertools.zip_longest,
	multiprocessing.AuthenticationError multiprocessing.context.AuthenticationError,
	multiprocessing.BufferTooShort multiprocessing.context.BufferTooShort,
	multiprocessing.ProcessError multiprocessing.context.ProcessError,
	multiprocessing.TimeoutError multiprocessing.context.TimeoutError,
	multiprocessing.forking.Popen multiprocessing.popen_fork.Popen,
	multiprocessing.process.Process multiprocessing.context.Process, socket._socketobject socket.SocketType,
	urllib.ContentTooShortError urllib.error.ContentTooShortError, urllib.getproxies urllib.request.getproxies,
	urllib.pathname2url urllib.request.pathname2url, urllib.quote urllib.parse.quote,
	urllib.quote_plus urllib.parse.quote_plus, urllib.unquote urllib.parse.unquote,
	urllib.unquote_plus urllib.parse.unquote_plus, urllib.url2pathname urllib.request.url2pathname,
	urllib.urlcleanup urllib.request.urlcleanup, urllib.urlencode urllib.parse.urlencode,
	urllib.urlopen urllib.request.urlopen, urllib.urlretrieve urllib.request.urlretrieve,
	urllib2.HTTPError urllib.error.HTTPError, urllib2.URLError urllib.error.URLError`)
)

// renamed reads old and new names.
func renamed(list string) map[string]string {
	m := make(map[string]string)
	for pair := range strings.SplitSeq(list, ",") {
		words := strings.Fields(pair)
		m[words[0]] = words[1]
	}
	return m
}

// movedByTorch are the modules that torch.load finds elsewhere (torch/serialization.py,
// load_module_mapping).
var movedByTorch = map[string]string{"torch.tensor": "torch._tensor"}

// today returns where Python finds a name that a pickle of some protocol imports.
func today(protocol byte, module, name string) (string, string) {
	if to, ok := movedByTorch[module]; ok {
		module = to
	}
	if protocol > 2 {
		return module, name
	}
	if to, ok := python2Names[module+"."+name]; ok {
		i := strings.LastIndexByte(to, '.')
		return to[:i], to[i+1:]
	}
	if to, ok := python2Modules[module]; ok {
		module = to
	}
	return module, name
}
