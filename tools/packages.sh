# Sourced by quickstart.sh and test.sh: install_packages FILE SECTION... installs what is missing of the sections of
# packages.txt. Asks nothing; touches nothing if all is there.

install_packages() {
  local file=$1 wanted missing=() package as_root=()
  shift
  wanted=$(awk -v sections=" $* " '
    /^#/ || /^[[:space:]]*$/ { next }
    /^\[.*\]$/ { chosen = index(sections, " " substr($0, 2, length($0) - 2) " "); next }
    chosen { print $1 }' "$file")
  if ! command -v dpkg-query >/dev/null; then
    echo "note: this is not Debian; its packages in $(basename "$file") must be there under your system's names" >&2
    return 0
  fi
  for package in $wanted; do
    [[ $(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null) == installed* ]] || missing+=("$package")
  done
  ((${#missing[@]})) || return 0

  if ((EUID != 0)); then
    if ! command -v sudo >/dev/null; then
      echo "error: packages are missing, and you are neither root nor is there sudo" >&2
      echo "  next: have this done: apt-get install ${missing[*]}" >&2
      return 1
    fi
    as_root=(sudo)
  fi
  echo "installing: ${missing[*]}" >&2
  "${as_root[@]}" apt-get update -q >&2 || true
  if ! "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
      apt-get install -y -q --no-install-recommends "${missing[@]}" >&2; then
    echo "error: apt-get could not install: ${missing[*]}" >&2
    echo "  next: look at its message above; suanli is made for Debian 12" >&2
    return 1
  fi
}
