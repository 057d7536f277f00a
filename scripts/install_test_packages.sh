#!/bin/sh
# Gets the Debian packages that some tests need, where this user may install packages.
#
# It never fails: a test whose package is missing is skipped and named at the end of the run.
set -u
packages="python3-gi gir1.2-gst-rtsp-server-1.0 gstreamer1.0-plugins-base \
gstreamer1.0-plugins-good gstreamer1.0-plugins-bad prometheus chromium mosquitto nats-server"

if ! command -v apt-get >/dev/null || ! command -v dpkg-query >/dev/null; then
    echo "streamer: no apt-get here, so tests that need Debian's packages may be skipped"
    exit 0
fi

missing() {
    for package in $packages; do
        [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] ||
            printf '%s ' "$package"
    done
}

wanted=$(missing)
[ -n "$wanted" ] || exit 0

if [ "$(id -u)" = 0 ]; then
    root=
elif sudo -n true 2>/dev/null; then
    root="sudo -n"
else
    echo "streamer: tests are skipped that need these packages: apt-get install ${wanted% }"
    exit 0
fi

echo "streamer: installing Debian packages for the tests: ${wanted% } (PACKAGES=no prevents it)"
get() {
    $root env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=60 "$@" \
        >"$log" 2>&1 </dev/null
}
log=$(mktemp)
trap 'rm -f "$log"' EXIT
get update || true # an old list may still do
# One at a time when all together fail: one unknown name must not keep out the others.
# shellcheck disable=SC2086
get install --yes --no-install-recommends $wanted || for package in $wanted; do
    get install --yes --no-install-recommends "$package" ||
        echo "streamer: $package did not install: $(grep -m 1 '^E:' "$log")"
done
# The tests start their own; nothing shall run on this machine because of us.
for service in prometheus mosquitto nats-server; do
    case " $wanted" in
        *" $service "*)
            [ ! -d /run/systemd/system ] || $root systemctl -q disable --now "$service" || true ;;
    esac
done
exit 0
