#!/usr/bin/env bash
# Look for a Chromium for the tests of the site; on Debian, as root, install one. Never fails.
for name in chromium chromium-browser google-chrome chrome; do
  if path=$(command -v "$name"); then
    echo "Browser for the tests of the site: $path"
    exit 0
  fi
done
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
  echo "Installing Debian's chromium for the tests of the site ..."
  if { apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends chromium; } >/dev/null 2>&1; then
    echo "Browser for the tests of the site: $(command -v chromium)"
    exit 0
  fi
  echo "That did not work."
fi
echo "No Chromium or Chrome here: the browser tests will be skipped. Install one of them to run them."
exit 0
