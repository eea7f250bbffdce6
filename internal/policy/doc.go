// Package policy says how a release is to be judged, and what is expected of it:
// the settings file, exceptions, baselines, and the lock beside the weights.
//
// It is above package check: a policy names rules, and a rule knows of no policy.
package policy
