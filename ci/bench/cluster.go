package bench

import "fmt"

// Steps are the seconds of one way from no cluster to a change of a release that runs in one.
type Steps struct {
	// Cluster is the time until there is a cluster, Argocd from then until Argo CD is ready.
	Cluster float64 `json:"cluster"`
	Argocd  float64 `json:"argocd"`
	// Release is the time from the Application until all of it is healthy.
	Release float64 `json:"release"`
	// Change is the time from a push that replaces the pods until the new one serves.
	Change float64 `json:"change"`
}

// ClusterFacts are the steps by hand and with the helper program, in turns on one machine.
type ClusterFacts struct {
	Hand []Steps `json:"hand"`
	Here []Steps `json:"here"`
}

// CompareSteps makes the rows of the table of a cluster's steps: by hand is the other way, with the helper program ours.
func CompareSteps(f ClusterFacts) ([]Row, error) {
	if len(f.Here) == 0 || len(f.Hand) != len(f.Here) {
		return nil, fmt.Errorf("%w: %d runs by hand and %d with the helper program", ErrFacts, len(f.Hand), len(f.Here))
	}
	row := func(what string, limit float64, of func(Steps) float64) Row {
		return Row{What: what, Unit: "s", Other: median(f.Hand, of), Ours: median(f.Here, of), Limit: limit, decimals: 1}
	}
	return judge([]Row{
		row("cluster ready", 15, func(s Steps) float64 { return s.Cluster }),
		row("Argo CD ready after that", 25, func(s Steps) float64 { return s.Argocd }),
		row("release healthy after its Application", 0, func(s Steps) float64 { return s.Release }),
		row("push to the new pod serving", 15, func(s Steps) float64 { return s.Change }),
		row("all of it", 0, func(s Steps) float64 { return s.Cluster + s.Argocd + s.Release + s.Change }),
	})
}
