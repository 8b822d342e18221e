#!/usr/bin/env bash
# A publisher and a network that live behind address translation, each in a network namespace, with a router between them that passes nothing on
# by private addresses. FFmpeg publishes by WHIP to the router's public address; prints how many of the 180 pictures a viewer reads.
#
#   unshare --mount --net tests/system/nat.sh MILLRACE FFMPEG DIR
#
# This process is in the router's namespace. The namespaces' names live in a folder that only it sees, and go with it.
set -euo pipefail
millrace=$1 ffmpeg=$2 dir=$3
public=203.0.113.2

mount -t tmpfs tmpfs /run
mkdir -p /run/netns
ip link set lo up
ip address add 203.0.113.1/32 dev lo # the home's own, as the network sees it
ip address add $public/32 dev lo
side() { # a namespace NAME with the address NET.2, whose router is this one, NET.1
    ip netns add "$1"
    ip link add "to-$1" type veth peer name eth0 netns "$1"
    ip address add "$2.1/24" dev "to-$1" && ip link set "to-$1" up
    ip -n "$1" address add "$2.2/24" dev eth0
    ip -n "$1" link set lo up && ip -n "$1" link set eth0 up
    ip -n "$1" route add default via "$2.1"
}
side home 10.0.1
side office 192.168.7
echo 1 >/proc/sys/net/ipv4/ip_forward
nft -f - <<RULES
table ip nat {
    chain in { type nat hook prerouting priority dstnat
        ip daddr $public udp dport 40000-40003 dnat to 192.168.7.2
        ip daddr $public tcp dport 80 dnat to 192.168.7.2
    }
    chain out { type nat hook postrouting priority srcnat
        ip saddr 10.0.1.0/24 snat to 203.0.113.1
        ip saddr 192.168.7.0/24 snat to $public
    }
    chain pass { type filter hook forward priority filter; policy drop
        ct status dnat accept
        ct direction reply accept
    }
}
RULES

MILLRACE_BROADCASTER_WHIP_UDP_PORTS=40000-40003 MILLRACE_BROADCASTER_WHIP_PUBLIC_ADDRESS=$public \
    ip netns exec office "$millrace" up --ports auto --source none --data-dir "$dir/data" --ready-json "$dir/ready.json" &
network=$!
trap 'kill -INT $network; wait $network || true' EXIT
for _ in {1..600}; do
    [[ ! -s $dir/ready.json ]] || break
    kill -0 $network
    sleep 0.1
done
of() { node -p "$2" "$(<"$dir/$1.json")"; }
api=$(of ready 'JSON.parse(process.argv[1]).broadcaster_api')
ip netns exec office curl -sf "$api/api/v1/ingest" >"$dir/ingest.json"
key=$(of ingest 'JSON.parse(process.argv[1]).keys[0].key')
name=$(of ingest 'JSON.parse(process.argv[1]).keys[0].name')

# The node's HTTP is on loopback: a proxy's place, taken here by the office's own rules.
echo 1 | ip netns exec office tee /proc/sys/net/ipv4/conf/{all,eth0}/route_localnet >/dev/null
ip netns exec office nft -f - <<RULES
table ip nat { chain in { type nat hook prerouting priority dstnat; tcp dport 80 dnat to ${api#http://}; }; }
RULES

! ip netns exec home curl -s -m 2 http://192.168.7.2/ || { echo "the private address can be reached: this shows nothing" >&2 && exit 1; }
timeout 60 ip netns exec home "$ffmpeg" -v error -nostdin -re -f lavfi -i testsrc2=size=640x360:rate=30 -t 6 -c:v libx264 -preset ultrafast \
    -tune zerolatency -profile:v baseline -pix_fmt yuv420p -g 30 -f whip "http://$public/whip/$key"
sleep 3 # its last segment
count=(-v error -count_packets -select_streams v:0 -show_entries stream=nb_read_packets -of csv=p=0)
echo "pictures: $(ip netns exec office ffprobe "${count[@]}" "$api/live/$name/source/index.m3u8" | head -n 1)"
