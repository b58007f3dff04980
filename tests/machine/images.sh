# Docker images of this machine's own programs; nothing is pulled. Run inside the runner machine, as root.
set -eu
here=$(mktemp -d)
trap 'rm -rf "$here"' EXIT
mkdir -p "$here/bin" "$here/tmp" "$here/etc/ssl/certs"
busybox=$(command -v busybox)
cp "$busybox" "$here/bin/busybox"
for applet in $("$busybox" --list); do
  [ -e "$here/bin/$applet" ] || ln -s busybox "$here/bin/$applet"
done
printf 'root:x:0:0::/:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n' >"$here/etc/passwd"
printf 'root:x:0:\nnogroup:x:65534:\n' >"$here/etc/group"
tar -C "$here" -c . | docker import --change 'CMD ["sh"]' - busybox >/dev/null

# What the dynamic loader names, and the resolver that libc opens by itself.
mkdir -p "$here/usr/bin"
cp /usr/bin/curl "$here/usr/bin/"
cp /etc/ssl/certs/ca-certificates.crt "$here/etc/ssl/certs/"
ldd /usr/bin/curl | sed -n 's/.*=> \(\/[^ ]*\) .*/\1/p; s/^\t\(\/[^ ]*\) .*/\1/p' | while read -r library; do
  mkdir -p "$here$(dirname "$library")"
  cp -L "$library" "$here$library"
done
tar -C "$here" -c . | docker import --change 'CMD ["sh"]' - curl >/dev/null
