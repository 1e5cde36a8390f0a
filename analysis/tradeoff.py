"""Draw the trade-off: python -m analysis.tradeoff DIR… --out FOLDER."""

from analysis.command import main_of

main = main_of("tradeoff")

if __name__ == "__main__":
    raise SystemExit(main())
