package argv

import (
	"fmt"
	"time"

	"github.com/wtinspect/wtinspect/inspect"
)

// Rules are the flags that choose rules: --select, --ignore, --profile and --config.
type Rules struct {
	Select, Ignore    []string
	Profile, Settings string
	// Given tells which flags were given: the others leave the choice to the settings.
	Given func(flag string) bool
}

// Choice is what the flags say.
func (r *Rules) Choice(now time.Time) inspect.RuleChoice {
	c := inspect.RuleChoice{Ignore: r.Ignore, Profile: r.Profile, Settings: r.Settings, Now: now}
	if r.Given("select") {
		c.Select = append([]string{}, r.Select...)
	}
	if r.Given("profile") && r.Profile == "" {
		c.Profile = inspect.NoProfile
	}
	return c
}

// Now is the time at which exceptions are held to have expired: SOURCE_DATE_EPOCH, where
// the environment has it.
func Now(getenv func(string) string) time.Time {
	var epoch int64
	if _, err := fmt.Sscan(getenv("SOURCE_DATE_EPOCH"), &epoch); err == nil {
		return time.Unix(epoch, 0).UTC()
	}
	return time.Now()
}
