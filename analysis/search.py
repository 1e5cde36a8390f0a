"""Draw how the search went: python -m analysis.search DIR… --out FOLDER."""

from analysis.command import main_of

main = main_of("search")

if __name__ == "__main__":
    raise SystemExit(main())
