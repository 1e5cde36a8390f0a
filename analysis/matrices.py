"""Draw the learned matrices: python -m analysis.matrices DIR… --out FOLDER."""

from analysis.command import main_of

main = main_of("matrices")

if __name__ == "__main__":
    raise SystemExit(main())
