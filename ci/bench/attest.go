package bench

import "fmt"

// Attested are the seconds that one image took.
type Attested struct {
	// Attest is the time in which SBOMs, provenance and signature are made and attached.
	Attest float64 `json:"attest"`
	// Verify is the time in which all of it is verified.
	Verify float64 `json:"verify"`
}

// AttestFacts are those by hand and with the program attest, in turns on one machine.
type AttestFacts struct {
	Hand []Attested `json:"hand"`
	Here []Attested `json:"here"`
}

// CompareAttested makes the rows of the table of attestations: by hand is the other way, with the program attest ours.
func CompareAttested(f AttestFacts) ([]Row, error) {
	if len(f.Here) == 0 || len(f.Hand) != len(f.Here) {
		return nil, fmt.Errorf("%w: %d runs by hand and %d with the program attest", ErrFacts, len(f.Hand), len(f.Here))
	}
	row := func(what string, limit float64, of func(Attested) float64) Row {
		return Row{What: what, Unit: "s", Other: median(f.Hand, of), Ours: median(f.Here, of), Limit: limit, decimals: 1}
	}
	return judge([]Row{
		row("two SBOMs, provenance and signature, attached", 15, func(a Attested) float64 { return a.Attest }),
		row("all of it verified", 0, func(a Attested) float64 { return a.Verify }),
	})
}
