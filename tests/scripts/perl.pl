# Hashes, sorting, regular expressions, closures, fork, pipes, threads-free recursion, pack.
use strict;
use warnings;
my %count;
my $text = join ' ', map { "word" . ($_ * 7919 % 1009) } 1 .. 30000;
$count{$_}++ for split / /, $text;
print scalar(keys %count), " words, most: ",
    (sort { $count{$b} <=> $count{$a} || $a cmp $b } keys %count)[0], "\n";
(my $changed = $text) =~ s/word(\d+)/<$1>/g;
print length($changed), "\n";
my @sorted = sort { $a <=> $b } map { $_ * 7919 % 100003 } 1 .. 50000;
print "$sorted[0] $sorted[25000] $sorted[-1]\n";
my @nested = map { { id => $_, list => [ 1 .. $_ % 20 ] } } 1 .. 5000;
my $total = 0;
$total += @{ $_->{list} } for @nested;
print "$total\n";
for my $i (1 .. 5) {
    pipe(my $read, my $write) or die;
    my $pid = fork() // die;
    if ($pid == 0) {
        print $write join(',', map { $nested[$_]{id} * $i } 0 .. 5);
        close $write;
        exit 0;
    }
    close $write;
    print <$read>, "\n";
    waitpid $pid, 0;
    print "status $?\n";
}
my $output = `echo from a shell | tr a-z A-Z`;
print $output;
my $packed = pack 'N*', 1 .. 1000;
my $check = 0;
$check = ($check * 31 + $_) % 1000003 for unpack 'C*', $packed;
print "$check\n";
my $big = 'x' x 10_000_000;
substr($big, 5_000_000, 1) = 'y';
print index($big, 'y'), "\n";
