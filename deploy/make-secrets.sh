#!/bin/sh
# Makes the secrets of docker-compose.yml, once; what is there stays. They are printed nowhere.
#
# A container's user must be able to read its file, so the folder, not the files, keeps others out.
set -eu
folder=$(dirname "$0")/secrets
mkdir -p "$folder/cameras" # for passwords of cameras, which nobody can make up
chmod 700 "$folder"
chmod 755 "$folder/cameras" # it is mounted, and the container's user is another
for name in http_token grafana_password; do
    [ -s "$folder/$name" ] || (
        umask 022
        head -c 24 /dev/urandom | od -An -tx1 | tr -d ' \n' >"$folder/$name.new"
        mv "$folder/$name.new" "$folder/$name"
    )
done
echo "the secrets are in $folder: http_token opens the page, grafana_password is that of admin"
