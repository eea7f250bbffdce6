package answer

import (
	"strings"
	"testing"

	"github.com/wtinspect/wtinspect/inspect"
	"github.com/wtinspect/wtinspect/internal/fixture"
	"github.com/wtinspect/wtinspect/internal/render"
)

// Arrays are those that NumPy 1.24 prints, of the width given or as wide as they are:
//
//	numpy.set_printoptions(floatmode="unique")
//	numpy.array2string(a, separator=", ", max_line_width=width)
//
// testdata/interop/cat.py compares many more, where NumPy is installed.
func TestArraysAreNumPys(t *testing.T) {
	for _, tt := range []struct {
		tensor string
		width  int
		want   string
	}{
		{"F32 [3] values=1e-05,12345678000.0,1.1", 0, `[9.9999997e-06, 1.2345678e+10, 1.1000000e+00]`},
		{"F32 [4] values=0.1,100,-3.25,nan", 0, `[  0.1 , 100.  ,  -3.25,    nan]`},
		{"F32 [2] values=nan,inf", 0, `[nan, inf]`},
		{"F32 [2] values=0,-0.0", 0, `[ 0., -0.]`},
		{"F32 [] values=75340016", 0, `75340016.`},
		{"F32 [] values=1e+20", 0, `1.e+20`},
		{"F64 [3] values=1e-05,1e-100,1e+100", 0, `[1.e-005, 1.e-100, 1.e+100]`},
		{"F64 [] values=0.1", 0, `0.1`},
		{"I32 [2,2] values=1,-200,3,4", 0, `[[   1, -200],
 [   3,    4]]`},
		{"F32 [1001] values=1,2,3", 40, `[1., 2., 3., ..., 3., 1., 2.]`},
		{"I32 [2,1000] values=1,2,3,4,5,6,7", 0, `[[1, 2, 3, ..., 4, 5, 6],
 [7, 1, 2, ..., 3, 4, 5]]`},
		{"I32 [30] values=100000,-7", 60, `[100000,     -7, 100000,     -7, 100000,     -7, 100000,
     -7, 100000,     -7, 100000,     -7, 100000,     -7,
 100000,     -7, 100000,     -7, 100000,     -7, 100000,
     -7, 100000,     -7, 100000,     -7, 100000,     -7,
 100000,     -7]`},
		{"F32 [2,3,2] values=0.5,-0.25", 0, `[[[ 0.5 , -0.25],
  [ 0.5 , -0.25],
  [ 0.5 , -0.25]],

 [[ 0.5 , -0.25],
  [ 0.5 , -0.25],
  [ 0.5 , -0.25]]]`},
		{"F32 [2,2,300] values=0,1,2,999,1234.5", 40, `[[[0.0000e+00, 1.0000e+00, 2.0000e+00,
   ..., 2.0000e+00, 9.9900e+02,
   1.2345e+03],
  [0.0000e+00, 1.0000e+00, 2.0000e+00,
   ..., 2.0000e+00, 9.9900e+02,
   1.2345e+03]],

 [[0.0000e+00, 1.0000e+00, 2.0000e+00,
   ..., 2.0000e+00, 9.9900e+02,
   1.2345e+03],
  [0.0000e+00, 1.0000e+00, 2.0000e+00,
   ..., 2.0000e+00, 9.9900e+02,
   1.2345e+03]]]`},
		{"F32 [3,1,2] values=-inf,1", 8, `[[[-inf,
     1.]],

 [[-inf,
     1.]],

 [[-inf,
     1.]]]`},
		{"U8 [2,3] values=1,20,255", 0, `[[  1,  20, 255],
 [  1,  20, 255]]`},
	} {
		set, err := inspect.Open(t.Context(), []string{fixture.File(t, "m.safetensors", "tensor x "+tt.tensor)}, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer set.Close()
		r, err := inspect.Cat(t.Context(), set, &inspect.CatOptions{Names: []string{"x"}, Form: inspect.CatText})
		if err != nil {
			t.Fatal(err)
		}
		var b strings.Builder
		if err := CatText(&b, r, render.Style{Width: tt.width}); err != nil {
			t.Fatal(err)
		}
		_, got, _ := strings.Cut(b.String(), "\n")
		if got != tt.want+"\n" {
			t.Errorf("%s, %d wide:\n%swant:\n%s", tt.tensor, tt.width, got, tt.want)
		}
	}
}
