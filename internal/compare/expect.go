package compare

// ExpectedError returns the relative root mean square error that converting
// normally distributed weights to a dtype costs, and false for types without one:
// it is what a faithful conversion of a trained tensor comes near to.
func ExpectedError(dtype string) (float64, bool) {
	e, ok := expectedErrors[dtype]
	return e, ok
}

var expectedErrors = map[string]float64{}
