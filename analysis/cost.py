"""Draw where the seconds went: python -m analysis.cost DIR… --out FOLDER."""

from analysis.command import main_of

main = main_of("cost")

if __name__ == "__main__":
    raise SystemExit(main())
