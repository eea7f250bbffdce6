package rewrite

// Verify says how a rewrite proves, before it becomes final, that no tensor's
// data changed.
type Verify string

// The ways to verify.
const (
	// VerifyDefault compares the digest of every tensor where data was copied,
	// and sampled blocks where it stayed where it was.
	VerifyDefault Verify = ""
	// VerifyFull compares the digest of every tensor, which reads all data
	// twice even where only a header is written.
	VerifyFull Verify = "full"
	// VerifySampled compares blocks: the first, the last, and some between.
	VerifySampled Verify = "sampled"
	// VerifyNone compares nothing.
	VerifyNone Verify = "none"
)
