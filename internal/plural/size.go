package plural

import "strconv"

// Size returns n bytes for people: three digits and a binary unit, "98.0 MiB".
func Size[N integer](n N) string { return string(AppendSize(nil, uint64(max(n, 0)))) }

// AppendSize appends what [Size] returns.
func AppendSize(dst []byte, n uint64) []byte {
	if n < 1024 {
		return append(strconv.AppendUint(dst, n, 10), " B"...)
	}
	f, unit := float64(n), 0
	for ; f >= 1023.5 && unit < 6; unit++ {
		f /= 1024
	}
	dst = strconv.AppendFloat(dst, f, 'f', Decimals(f), 64)
	return append(dst, ' ', " KMGTPE"[unit], 'i', 'B')
}

// Decimals is how many digits follow the point of a number below 1,024 that has three.
func Decimals(f float64) int {
	switch {
	case f < 9.995:
		return 2
	case f < 99.95:
		return 1
	}
	return 0
}
