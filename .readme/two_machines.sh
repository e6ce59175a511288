#!/bin/bash
# Two "machines" train together, and the cable between them is pulled: `sudo .readme/two_machines.sh`.
#
# The machines are network namespaces with names of their own (Linux, iproute2, root), joined by a
# pair of virtual interfaces. Both must end with an error in about a minute, and the run continues on
# the one that wrote it. By hand, for the silence that must be noticed lasts 60 s; a test of
# tests/cli/test_train_together.py does without the launchers, and with 3 s.
set -u
here=$(mktemp -d) python=${PYTHON:-python}
trap 'ip netns del bn-alpha; ip netns del bn-beta; rm -r "$here"' EXIT
for name in alpha beta; do
    ip netns add bn-$name && ip -n bn-$name link set lo up && mkdir "$here/$name" || exit 1
done
ip link add cable netns bn-alpha type veth peer name cable netns bn-beta
ip -n bn-alpha address add 10.77.0.1/24 dev cable && ip -n bn-alpha link set cable up
ip -n bn-beta address add 10.77.0.2/24 dev cable && ip -n bn-beta link set cable up

machine() { # NAME RANK: one machine's half of the training, in a folder of its own
    cd "$here/$1" && exec ip netns exec "bn-$1" unshare --uts bash -c "
        hostname $1
        GLOO_SOCKET_IFNAME=cable exec $python -m torch.distributed.run --nnodes 2 --node-rank $2 \
            --nproc-per-node 1 --master-addr 10.77.0.1 --master-port 29500 \
            -m bnrun train --set data.name=synthetic --set training.engine=eager --epochs 1000"
}
machine alpha 0 >"$here/alpha.log" 2>&1 &
alpha=$!
machine beta 1 >"$here/beta.log" 2>&1 &
beta=$!

until grep -q "^epoch 2/" "$here/alpha.log"; do
    kill -0 $alpha 2>/dev/null || { cat "$here/alpha.log"; exit 1; }
    sleep 1
done
echo "pulling the cable after epoch 2"
ip -n bn-alpha link set cable down
SECONDS=0
wait $alpha; echo "alpha ended with $? after $SECONDS s"
wait $beta; echo "beta ended with $? after $SECONDS s"
for name in alpha beta; do
    echo "--- $name"
    grep -E "^(error|epoch 2/|  2 processes|bnrun train)" "$here/$name.log"
done
echo "--- alpha goes on alone"
cd "$here/alpha" && done=$(cat runs/*/metrics.jsonl | grep -c epoch_ended) &&
    $python -m bnrun train --resume latest --epochs $((done + 1)) 2>&1 | tail -5
