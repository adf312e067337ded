# How all plots of this folder look. `orthant report` leaves it alone once it is here: change it, then
# run `gnuplot *.gp`.
set encoding utf8
# Names of many models take room below the plot: a script says how many pixels.
if (!exists('room')) room = 0
svg = sprintf("svg size 640,%d enhanced font 'Helvetica,14' background rgb 'white'", 410 + room)
png = sprintf("pngcairo size 1280,%d font 'Helvetica,24' linewidth 2", 2 * (410 + room))

set border 3 lc rgb '#56616f'
set tics nomirror out scale 0.6
set grid lc rgb '#d5dbe3' lt 1 lw 0.5
set key bmargin left Left reverse vertical noenhanced samplen 3 width 1 height 0.5
set style fill transparent solid 0.2 noborder
set style line 1 lc rgb '#0072b2' lw 1.75 pt 7 ps 1.3
set style line 2 lc rgb '#c2410c' lw 1.75 pt 13 ps 1.6
set style line 3 lc rgb '#00785a' lw 1.75 pt 9 ps 1.4
set style line 4 lc rgb '#8e3d8a' lw 1.75 pt 5 ps 1.3
set style line 5 lc rgb '#735700' lw 1.75 pt 2 ps 1.4
set style line 6 lc rgb '#52606d' lw 1.75 pt 3 ps 1.4
set style line 7 lc rgb '#b0003a' lw 1.75 pt 1 ps 1.4
set style line 8 lc rgb '#3a4fb0' lw 1.75 pt 11 ps 1.4
# After the eighth model the colours come again, with dashes and hollow signs.
set style line 109 lc rgb '#0072b2' lw 1.75 dt (12, 6) pt 6 ps 1.4
set style line 110 lc rgb '#c2410c' lw 1.75 dt (12, 6) pt 12 ps 1.4
set style line 111 lc rgb '#00785a' lw 1.75 dt (12, 6) pt 8 ps 1.4
set style line 112 lc rgb '#8e3d8a' lw 1.75 dt (12, 6) pt 4 ps 1.4
set style line 113 lc rgb '#735700' lw 1.75 dt (12, 6) pt 10 ps 1.4
set style line 114 lc rgb '#52606d' lw 1.75 dt (12, 6) pt 14 ps 1.4
set style line 115 lc rgb '#b0003a' lw 1.75 dt (12, 6) pt 1 ps 1.4
set style line 116 lc rgb '#3a4fb0' lw 1.75 dt (12, 6) pt 2 ps 1.4
set style line 117 lc rgb '#0072b2' lw 1.75 dt (4, 4) pt 8 ps 1.4
set style line 118 lc rgb '#c2410c' lw 1.75 dt (4, 4) pt 4 ps 1.4
set style line 119 lc rgb '#00785a' lw 1.75 dt (4, 4) pt 10 ps 1.4
set style line 120 lc rgb '#8e3d8a' lw 1.75 dt (4, 4) pt 14 ps 1.4
set style line 121 lc rgb '#735700' lw 1.75 dt (4, 4) pt 1 ps 1.4
set style line 122 lc rgb '#52606d' lw 1.75 dt (4, 4) pt 2 ps 1.4
set style line 123 lc rgb '#b0003a' lw 1.75 dt (4, 4) pt 6 ps 1.4
set style line 124 lc rgb '#3a4fb0' lw 1.75 dt (4, 4) pt 12 ps 1.4
set style line 125 lc rgb '#0072b2' lw 1.75 dt (16, 6, 4, 6) pt 10 ps 1.4
set style line 126 lc rgb '#c2410c' lw 1.75 dt (16, 6, 4, 6) pt 14 ps 1.4
set style line 127 lc rgb '#00785a' lw 1.75 dt (16, 6, 4, 6) pt 1 ps 1.4
set style line 128 lc rgb '#8e3d8a' lw 1.75 dt (16, 6, 4, 6) pt 2 ps 1.4
set style line 129 lc rgb '#735700' lw 1.75 dt (16, 6, 4, 6) pt 6 ps 1.4
set style line 130 lc rgb '#52606d' lw 1.75 dt (16, 6, 4, 6) pt 12 ps 1.4
set style line 131 lc rgb '#b0003a' lw 1.75 dt (16, 6, 4, 6) pt 8 ps 1.4
set style line 132 lc rgb '#3a4fb0' lw 1.75 dt (16, 6, 4, 6) pt 4 ps 1.4
# The tokens of ZF plots.
set style line 11 lc rgb '#0072b2' pt 7 ps 0.25
set style line 12 lc rgb '#c2410c' pt 7 ps 0.25
set style line 13 lc rgb '#00785a' pt 7 ps 0.25
set style line 14 lc rgb '#8e3d8a' pt 7 ps 0.25
set style line 15 lc rgb '#735700' pt 7 ps 0.25
set style line 16 lc rgb '#52606d' pt 7 ps 0.25
set style line 17 lc rgb '#b0003a' pt 7 ps 0.25
set style line 18 lc rgb '#3a4fb0' pt 7 ps 0.25
# The lines of ZF plots: y = x and the bounds of eps (n - 1) = 0.25, 0.5, 1.
set style line 20 lc rgb '#1b2430' lw 1.5
set style line 21 lc rgb '#1b2430' lw 1 dt (20, 8)
set style line 22 lc rgb '#1b2430' lw 1 dt (10, 7)
set style line 23 lc rgb '#1b2430' lw 1 dt (3, 6)
