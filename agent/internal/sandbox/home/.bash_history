ls
cd Documents
nano notes.txt
df -h
sudo apt update
sudo apt upgrade
ssh martin@192.168.178.21
git clone https://git.example.org/martin/budget.git
cd budget
python3 report.py --year 2026
cp report-2026.csv ../Documents/
cd ..
du -sh Downloads
exit
