package proof

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

func TestReplaced(t *testing.T) {
	t.Parallel()
	pod := func(name, node string, ready corev1.ConditionStatus) corev1.Pod {
		return corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID(name)},
			Spec:       corev1.PodSpec{NodeName: node},
			Status:     corev1.PodStatus{Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: ready}}},
		}
	}
	going, staying := pod("going", "drained", corev1.ConditionTrue), pod("staying", "other", corev1.ConditionTrue)
	cases := map[string]struct {
		pods []corev1.Pod
		want string
	}{
		"another one took its place": {[]corev1.Pod{staying, pod("new", "other", corev1.ConditionTrue)}, ""},
		"it is not ready":            {[]corev1.Pod{staying, pod("new", "other", corev1.ConditionFalse)}, "new is not ready"},
		"it is not placed":           {[]corev1.Pod{staying, pod("new", "", corev1.ConditionFalse)}, "new is not ready"},
		"on the same node":           {[]corev1.Pod{staying, pod("new", "drained", corev1.ConditionTrue)}, "on drained, which takes none"},
		"still one":                  {[]corev1.Pod{staying}, "1 pods run"},
		"the other one went as well": {[]corev1.Pod{pod("a", "other", corev1.ConditionTrue), pod("b", "other", corev1.ConditionTrue)}, "not two with staying"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := text(replaced(c.pods, going, staying)); !strings.Contains(got, c.want) || (c.want == "") != (got == "") {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}
