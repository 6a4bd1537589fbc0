#!/usr/bin/env bash
# Makes a kind cluster, installs Argo CD, has it run a release, then a change of
# it, and prints the seconds of each: `here` with the helper program, `hand` as a
# person does with kind, kubectl and Argo CD's own manifest. What runs before in
# the Docker daemon is removed first. Reads from the environment:
#   NAME        of the clusters
#   GIT         URL of the repository        CHART   path of the chart in it
#   REVISION    commit with the release      BRANCH  branch that the change goes to
#   NODE_IMAGE  of kind's nodes              IMAGE   the release's image, DIGEST its digest
#   REGISTRY    HOST:PORT of the registry that has all images, over plain http
#   MANIFEST    Argo CD's core-install.yaml
set -euo pipefail

who=$1
# That of the session, so that the next one removes what this leaves.
name=$NAME
export KUBECONFIG=/tmp/$who.kubeconfig

address() { getent ahostsv4 "${1%:*}" | awk -v port="${1##*:}" 'NR == 1 { print $1 ":" port }'; }
registry=$(address "$REGISTRY")
host=${GIT#http://}
repo=http://$(address "${host%%/*}")/${host#*/}

# The reconciliation by the clock is minutes away: a person asks for one.
refresh() { kubectl -n argocd annotate application backstage argocd.argoproj.io/refresh=normal --overwrite; }

runs() {
  kubectl -n argocd wait application/backstage --timeout=5m --for=jsonpath='{.status.sync.revision}'="$1"
  kubectl -n argocd wait application/backstage --timeout=5m --for=jsonpath='{.status.sync.status}'=Synced
  kubectl -n argocd wait application/backstage --timeout=5m --for=jsonpath='{.status.operationState.syncResult.revision}'="$1"
  kubectl -n argocd wait application/backstage --timeout=5m --for=jsonpath='{.status.operationState.phase}'=Succeeded
  kubectl -n backstage-system rollout status deployment --timeout=5m
  kubectl -n argocd wait application/backstage --timeout=5m --for=jsonpath='{.status.health.status}'=Healthy
}

# What a host with control groups v1, or without CAP_SYS_RESOURCE, wants of kind besides.
old_host() {
  cat <<'END'
  - |
    kind: KubeletConfiguration
    failCgroupV1: false
    cgroupDriver: cgroupfs
containerdConfigPatches:
  - |
    version = 2
    [plugins."io.containerd.grpc.v1.cri"]
      restrict_oom_score_adj = true
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
      SystemdCgroup = false
    [plugins."io.containerd.grpc.v1.cri".registry]
      config_path = "/etc/containerd/certs.d"
END
}

hand_cluster() {
  kind create cluster --name $name --image "$NODE_IMAGE" --wait 5m --config - <<END
kind: Cluster
apiVersion: kind.x-k8s.io/v1alpha4
networking: {apiServerAddress: 0.0.0.0, apiServerPort: 6443}
kubeadmConfigPatches:
  - |
    kind: ClusterConfiguration
    apiServer: {certSANs: [docker, localhost]}
$(old_host)
END
  for node in $(kind get nodes --name $name); do
    docker exec -i "$node" sh -c 'mkdir -p /etc/containerd/certs.d/_default && cat > /etc/containerd/certs.d/_default/hosts.toml' <<END
server = "http://$registry"
capabilities = ["pull", "resolve"]
END
  done
  kind get kubeconfig --name $name | sed 's|server: .*|server: https://docker:6443|' > "$KUBECONFIG"
}
hand_argocd() {
  kubectl create namespace argocd
  kubectl apply -n argocd --server-side --force-conflicts -f "$MANIFEST"
  # Not kubectl wait, which fails on a definition that has no status yet.
  until kubectl -n argocd get appprojects > /dev/null 2>&1; do sleep 0.2; done
  kubectl -n argocd apply -f - <<END
apiVersion: argoproj.io/v1alpha1
kind: AppProject
metadata: {name: default}
spec:
  sourceRepos: ["*"]
  destinations: [{namespace: "*", server: "*"}]
  clusterResourceWhitelist: [{group: "*", kind: "*"}]
END
  kubectl -n argocd rollout status deployment --timeout=5m
  kubectl -n argocd rollout status statefulset --timeout=5m
}
hand_release() {
  kubectl apply -f - <<END
apiVersion: argoproj.io/v1alpha1
kind: Application
metadata: {name: backstage, namespace: argocd}
spec:
  project: default
  source: {repoURL: $repo, path: $CHART, targetRevision: $BRANCH}
  destination: {server: https://kubernetes.default.svc, namespace: backstage-system}
  syncPolicy: {automated: {prune: true, selfHeal: true}, syncOptions: [CreateNamespace=true]}
END
  runs "$REVISION"
}
hand_change() { refresh; runs "$1"; }

here_cluster() { gitops cluster create --name $name --image "$NODE_IMAGE" --mirror "$REGISTRY" --server docker --kubeconfig "$KUBECONFIG" --fence; }
here_argocd() { gitops argocd install --kubeconfig "$KUBECONFIG" --manifest "$MANIFEST"; }
here_sync() { gitops argocd sync --kubeconfig "$KUBECONFIG" --name backstage --revision "$1" --image "$IMAGE" --digest "$DIGEST"; }
here_release() {
  gitops argocd application --kubeconfig "$KUBECONFIG" --name backstage --repo "$repo" --path "$CHART" --revision "$BRANCH" --destination-namespace backstage-system
  here_sync "$REVISION"
}
here_change() { here_sync "$1"; }

# step NAME COMMAND… notes how long the command takes.
result=
step() {
  local began=$EPOCHREALTIME
  "${@:2}" >&2
  result+=${result:+, }\"$1\":\ $(awk -v a="$began" -v b="$EPOCHREALTIME" 'BEGIN { printf "%.2f", b - a }')
}

for cluster in $(kind get clusters 2> /dev/null); do
  kind delete cluster --name "$cluster" >&2
done
work=$(mktemp -d)
git clone --quiet --branch "$BRANCH" "$GIT" "$work"
# Each run begins with the release.
git -C "$work" reset --quiet --hard "$REVISION"
git -C "$work" push --quiet --force origin "HEAD:$BRANCH"

step cluster "${who}_cluster"
step argocd "${who}_argocd"
step release "${who}_release"
printf '\npodAnnotations: {bench: "%s"}\n' "$who $EPOCHREALTIME" > /tmp/change.yaml
sed -i '/^podAnnotations:/d' "$work/$CHART/values.yaml"
cat /tmp/change.yaml >> "$work/$CHART/values.yaml"
git -C "$work" -c user.name=bench -c user.email=bench@localhost commit --quiet --all --message "test: roll the pods"
git -C "$work" push --quiet origin "HEAD:$BRANCH"
step change "${who}_change" "$(git -C "$work" rev-parse HEAD)"
echo "{$result}"
